"""Passes that put cheaper operators in the place of others."""
