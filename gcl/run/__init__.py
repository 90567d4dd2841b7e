"""The one call, and the run directories that it writes."""
