"""Integers chosen by their error and their bytes."""
