"""Integers for weights and activations."""
