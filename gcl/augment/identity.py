"""The view that is the graph."""

from __future__ import annotations

from torch import Generator

from gcl.augment.augmenter import Augmenter
from gcl.core.view import View


class Identity(Augmenter):
    """Changes nothing."""

    keeps_edges = True

    def augment(self, view: View, generator: Generator | None) -> View:
        """The same view."""
        return view
