"""The loop, checkpoints, progress."""
