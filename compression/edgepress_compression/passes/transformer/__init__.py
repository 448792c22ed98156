"""Transformers: their attention blocks found in primitive operators, and rewritten."""
