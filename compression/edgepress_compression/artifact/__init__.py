"""The artifact: one file that carries a compressed model. Light: numpy, msgspec and the standard library."""
