"""Training from the spec: stages, the frozen-prefix cache, the loop on accelerate, checkpoints, reports."""
