"""Passes that give weights few values."""
