"""Hardware-aware knowledge distillation: students that a device runs fast, taught by the original."""
