"""Learning: training as a pass of its own."""
