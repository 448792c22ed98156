"""Training an executor: what is lowered, what is kept true meanwhile, and the loop."""
