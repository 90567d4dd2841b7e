"""What comes in: datasets by name, file readers, validation, splits."""
