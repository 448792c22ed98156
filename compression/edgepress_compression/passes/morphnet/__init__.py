"""MorphNet: the structure of a network, learned under a price for what a device pays for it."""
