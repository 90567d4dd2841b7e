"""Terms beside the loss."""

from gcl.regularizers.pot import POT
from gcl.regularizers.regularizer import Regularizer

__all__ = ["POT", "Regularizer"]
