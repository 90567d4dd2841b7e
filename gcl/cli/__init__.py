"""The command: parses, calls the layers below, prints."""
