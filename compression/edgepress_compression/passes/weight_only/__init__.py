"""Fewer bits for weights alone: activations stay floats."""
