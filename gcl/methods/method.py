"""The contract of a method."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gcl.core.context import Batch, Clock, LossContext, Outputs, Prepared, Stage, StepOutput
from gcl.core.errors import ConfigError
from gcl.core.graph import Graph
from gcl.core.graph_spec import GraphSpec
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.ops.rank_rows import own_rows


class Method(nn.Module):
    """A way to learn embeddings: what is computed once, the modules, and one training step.

    The constructor takes hyperparameters and part specifications only, and stores them unchanged under their own names.
    ``prepare`` and ``build`` then make it ready; what they make ends in ``_``. The order of calls is
    ``prepare(graph)``, ``build(graph.spec, prepared)``, then training, then ``outputs(graph)``. A method that is built
    from saved tensors needs no graph.
    """

    kind: ClassVar[str] = "node"  # the dataset collection that a bare dataset name is looked up in first
    needs_features: ClassVar[bool] = True  # whether the target nodes must have features
    embedding_names: ClassVar[tuple[str, ...] | None] = None  # of its outputs, so that others are refused early

    def store(self, **arguments: Any) -> None:
        """Keeps constructor arguments unchanged; a module among them is not registered as a submodule."""
        for name, value in arguments.items():
            object.__setattr__(self, name, value)

    @property
    def bounded_loss(self) -> bool:
        """Whether a lower loss is a better one, so that patience may wait for it; the loss itself says where not."""
        spec = getattr(self, "loss", None)
        return spec is None or is_bounded(spec)

    def check(self, spec: GraphSpec) -> None:
        """Refuses parts that do not fit together or the graph, before anything is written or computed."""

    def check_batches(self, parts: bool) -> None:
        """Refuses to be trained on parts of the graph with ids into the whole, or not to be, before any work.

        Raises:
            ConfigError: with the reason. By default a method makes its own batches.
        """
        if parts:
            raise ConfigError(
                f"{type(self).__name__} makes its own batches; leave out trainer.batch, or choose a method of two "
                "views, such as grace or csgcl"
            )

    def check_shares(self, parts: bool = False) -> None:
        """Refuses to share its steps out over several processes, before any work.

        A method that does shares reads ``rank`` and ``world`` of the clock in :meth:`training_step`: what it returns
        there, loss and parts, summed over the ranks, is what one process returns.

        Args:
            parts: whether it is trained on parts of the graph of which every process gets its own.

        Raises:
            ConfigError: with the reason. By default a method does its steps whole.
        """
        raise ConfigError(
            f"{type(self).__name__} does every step whole, so that more processes would bring nothing; leave out "
            "trainer.devices"
        )

    def prepare(self, graph: Graph, streams: Streams) -> Prepared:
        """What is expensive or random and done once (communities, SVD, meta-paths), as tensors saved with the run."""
        return Prepared()

    def build(self, spec: GraphSpec, prepared: Prepared) -> Method:
        """Makes the modules. Draws initial weights from torch's global generator, which the caller seeds."""
        raise NotImplementedError

    def stages(self) -> tuple[Stage, ...]:
        """The phases of training, in order."""
        return (Stage(),)

    def batches(self, graph: Graph, clock: Clock, streams: Streams) -> Iterable[Batch]:
        """The batches of one epoch; one full batch by default."""
        return (Batch(graph),)

    def on_epoch_start(self, graph: Graph, clock: Clock, streams: Streams) -> None:
        """Called before the batches of an epoch. State that it makes lives in buffers."""

    def training_step(self, batch: Batch, clock: Clock, streams: Streams) -> StepOutput:
        """The loss of one batch. Draws only from ``streams``, by purpose, stage, epoch and batch."""
        raise NotImplementedError

    def after_step(self, clock: Clock) -> None:
        """Called after the optimiser's step (moving averages)."""

    def outputs(self, graph: Graph) -> Outputs:
        """Embeddings of a graph, in evaluation mode and without gradient."""
        raise NotImplementedError

    def two_views(self, graph: Graph, streams: Streams) -> tuple[Tensor, Tensor] | None:
        """Embeddings of two views, row by row, for diagnostics (alignment); ``None`` where there are no views."""
        return None

    def diagnostics(self, outputs: Outputs) -> dict[str, float]:
        """Numbers about what was learned that a reader of the result should see, by name."""
        return {}


def is_bounded(spec: Any) -> bool:
    """Whether a lower value of a loss is a better one; losses without a lower bound say so."""
    return bool(getattr(resolve("loss", spec), "bounded", True))


def build_loss(spec: Any, channels: int) -> Any:
    """A loss, with the parameters that some have for projections ``[N, channels]``."""
    loss = resolve("loss", spec)
    return loss.build(channels) if hasattr(loss, "build") else loss


def needs_of(loss: Any) -> tuple[str, ...]:
    """What a loss takes from its context, by name; one of a user's own need not say that it takes nothing."""
    return tuple(getattr(loss, "needs", ()))


def _check_call(loss: Any) -> None:
    call = getattr(loss, "forward", loss)
    try:
        signature = inspect.signature(call)
    except ValueError:  # a compiled one may not say
        return
    except TypeError:
        signature = inspect.Signature()
    try:
        signature.bind(None, None, context=None)
    except TypeError as error:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise ConfigError(
            f"{name} is no loss ({error}); a loss is called with (z1, z2=None, *, context=None) and returns one number"
        ) from error


def one_number(value: Any, loss: Any) -> Tensor:
    """What a loss returned, as a tensor of shape ``[]``.

    Raises:
        ConfigError: it is no single number.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"loss {type(loss).__name__} returned {what}; return one number")
    return value.reshape(())


def check_loss(method: Method, spec: Any, provides: Sequence[str], num_nodes: int) -> None:
    """Refuses a loss that needs what a method does not provide, or more nodes than there are.

    Raises:
        ConfigError: such a loss.
    """
    loss = resolve("loss", spec)
    _check_call(loss)
    missing = [name for name in needs_of(loss) if name not in provides]
    if missing:
        raise ConfigError(
            f"loss {type(loss).__name__} needs {', '.join(missing)}, which {type(method).__name__} does not provide; "
            "choose another loss or a method that provides it"
        )
    if hasattr(loss, "check_nodes"):
        loss.check_nodes(num_nodes)


def projected_channels(projector: Any, in_channels: int) -> int:
    """Columns of what a projector gives for embeddings ``[N, in_channels]``."""
    return getattr(projector, "out_channels", None) or in_channels


def check_loss_shares(method: Method, spec: Any) -> None:
    """Refuses a loss whose anchors cannot be shared out over processes.

    Raises:
        ConfigError: such a loss.
    """
    loss = resolve("loss", spec)
    if not _says_shares(loss):
        raise ConfigError(
            f"loss {type(loss).__name__} of {type(method).__name__} does not say takes_shares, that it averages over "
            "the context's anchors and num_anchors, and so cannot be shared out; leave out trainer.devices"
        )


def _says_shares(loss: Any) -> bool:
    """Whether a loss says ``takes_shares`` of its own computation, not of that of a class that it inherits from."""
    loss = getattr(loss, "_orig_mod", loss)  # of torch.compile
    if "takes_shares" in getattr(loss, "__dict__", {}):
        return bool(loss.takes_shares)
    for cls in type(loss).__mro__:
        if "takes_shares" in vars(cls):
            return bool(loss.takes_shares)
        computes = (property, classmethod, staticmethod)
        own = {name for name, value in vars(cls).items() if callable(value) or isinstance(value, computes)}
        if own - {"__init__", "extra_repr"}:
            return False
    return False


def own_anchors(context: LossContext, rows: Tensor, clock: Clock) -> LossContext:
    """The context with this process's share of the anchors, of which the loss takes its share of the mean.

    Args:
        context: of the whole step.
        rows: what the loss gets, ``[N, d]``, all of which are anchors where the context names none.
        clock: its ``rank`` and ``world``.
    """
    if clock.world == 1:
        return context
    anchors, counts = context.anchors, context.counts
    if anchors is None:
        anchors = torch.arange(rows.shape[0], device=rows.device)
    total = anchors.numel() if counts is None else counts.sum()
    return dataclasses.replace(
        context,
        anchors=own_rows(anchors, clock),
        counts=None if counts is None else own_rows(counts, clock),
        num_anchors=int(total) if context.num_anchors is None else context.num_anchors,
    )
