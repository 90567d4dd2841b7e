"""One augmenter a file."""
