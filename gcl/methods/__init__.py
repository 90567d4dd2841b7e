"""One paper a file: it assembles the parts and holds the paper's defaults."""
