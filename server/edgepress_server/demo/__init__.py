"""``edgepress demo``: the main job on one machine, with real processes, through the same doors people use."""
