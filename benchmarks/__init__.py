"""Measurements against plain references. Not part of the package."""
