"""Training with Lightning's Trainer: on accelerators, in several processes, in mixed precision."""
