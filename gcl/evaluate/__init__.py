"""Protocols, each usable alone on any embeddings."""
