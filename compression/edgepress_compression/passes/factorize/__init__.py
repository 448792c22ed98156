"""Factorizing: one layer becomes two or three thinner ones."""
