"""Terms beside the loss."""
