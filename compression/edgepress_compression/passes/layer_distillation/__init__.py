"""Layers fitted to the original's, one after the other."""
