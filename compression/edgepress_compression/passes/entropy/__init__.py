"""Training under a price for coded bytes."""
