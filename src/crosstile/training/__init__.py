"""Training with the errors of a chip in the forward pass."""
