"""What runs on a device: it converges to the desired state, runs the model and reports."""
