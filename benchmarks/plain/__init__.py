"""The other side: plain PyTorch, PyG, networkx and scikit-learn, as published programs write it."""
