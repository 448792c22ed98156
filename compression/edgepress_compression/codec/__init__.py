"""Lossless coders of weight tensors: numpy and the standard library only."""
