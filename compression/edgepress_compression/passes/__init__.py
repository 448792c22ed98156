"""Passes: each module holds one transformation of a model, as `Options` and `run(state, options)`."""
