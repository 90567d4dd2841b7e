"""``gcl cluster``."""
