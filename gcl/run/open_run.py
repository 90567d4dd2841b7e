"""A finished run, opened again."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from gcl.core.context import Outputs
from gcl.core.errors import CheckpointError, ConfigError, DataError
from gcl.core.graph import Graph
from gcl.core.resolve import resolve
from gcl.core.streams import Streams
from gcl.encoders.block_embedding import embed_by_blocks, takes_blocks
from gcl.methods.method import Method
from gcl.methods.two_view import TwoView
from gcl.run.run_directory import (
    CONFIG,
    EMBEDDINGS,
    META,
    MODEL,
    PREPARED,
    SPEC,
    RunDirectory,
    build_method,
    read_config,
    read_metadata,
    read_outputs,
    read_prepared,
    read_tensors,
    to_cpu,
)
from gcl.train.device import find_device
from gcl.train.trainer import Trainer
from gcl.train.weights import load_weights


class Run:
    """A trained run, opened from its folder alone; its scores may be missing where an evaluator failed.

    Args:
        path: a run folder; one with several seeds opens its first seed, or the one named ``path/seed-K``.

    Attributes:
        seeds: those in the folder, where it has several.
        embeddings: the saved embeddings by name.
        ids: id of each row.
    """

    def __init__(self, path: str | Path):
        self.root = Path(path)
        if not self.root.is_dir():
            raise ConfigError(f"{self.root} is not a run folder; give the folder that `gcl train` wrote (--out)")
        self.directory = RunDirectory(self.root)
        numbered = [folder for folder in self.root.glob("seed-*") if folder.name[5:].isdigit()]
        seeds = sorted(numbered, key=lambda folder: int(folder.name[5:]))
        if not self.directory.is_started and seeds:
            self.directory = RunDirectory(seeds[0])
        self.seeds = [int(folder.name[5:]) for folder in seeds]
        config = next((p for p in (self.root / CONFIG, self.root.parent / CONFIG) if p.is_file()), None)
        if config is None or not self.directory.is_started:
            raise ConfigError(
                f"{self.root} holds no run (no {CONFIG}, {PREPARED} or {SPEC}); give a folder that `gcl train` wrote"
            )
        self.settings = read_config(config)
        if not (self.directory / MODEL).is_file():
            raise CheckpointError(
                f"{self.root} was not trained to the end; resume it with `gcl train --resume {self.root}`"
            )
        self.spec = self.directory.read_spec()

    def method(self) -> Method:
        """The trained method, built from saved tensors; needs no data."""
        method = build_method(self.settings["method"], self.spec, read_prepared(self.directory / PREPARED), Streams(0))
        if self._trainer.dtype == torch.float64:
            method.double()
        load_weights(method, read_tensors(self.directory / MODEL))
        return method.to(find_device(self._trainer.device)).eval()

    @property
    def embeddings(self) -> dict[str, Tensor]:
        """The embeddings saved after training, by name, the main one first, ``[N, d]``."""
        return dict(self.outputs.embeddings)

    @property
    def outputs(self) -> Outputs:
        """What the trained method gave for its training graph, as saved."""
        return read_outputs(self.directory / EMBEDDINGS)

    @property
    def ids(self) -> list[str]:
        """Ids of the rows of the main embedding, as text."""
        return self.ids_of(next(iter(self.embeddings)))

    def ids_of(self, name: str) -> list[str]:
        """Ids of the rows of one of the embeddings, as text; their positions where the data had no ids."""
        record = json.loads(read_metadata(self.directory / EMBEDDINGS).get(META, "{}"))
        embeddings = self.embeddings
        others = record.get("other_ids", {})
        ids = others[name] if name in others else record.get("ids")  # others are named by their type of nodes
        if ids and len(ids) != embeddings[name].shape[0]:
            ids = None
        return list(ids) if ids else [str(index) for index in range(embeddings[name].shape[0])]

    def embed(self, graph: Graph) -> Outputs:
        """Embeddings of another graph (or the same) by the trained weights.

        Raises:
            DataError: the graph's features have another width.
        """
        self._check_width(graph)
        return to_cpu(self.method().outputs(self._trainer.place(graph.for_training())))

    def embed_into(self, graph: Graph, path: Path) -> bool:
        """Writes the embeddings of a graph larger than memory to an ``.npy`` file, block by block.

        Returns:
            Whether it could be done so: by GCN or MLP, of a method whose result is its encoder's.

        Raises:
            DataError: the graph's features have another width.
            OutputError: the file is there, or cannot be written.
        """
        self._check_width(graph)
        method = self.method()
        if not isinstance(method, TwoView) or not takes_blocks(method.encoder_):
            return False
        embed_by_blocks(method.encoder_.cpu().float(), graph, path)
        return True

    def _check_width(self, graph: Graph) -> None:
        for kind, width in self.spec.in_channels.items():
            found = graph.spec.in_channels.get(kind)
            if found != width:
                raise DataError(
                    f"this run was trained on {width} feature columns of {kind!r} nodes, the graph has "
                    f"{found or 'none'}; give a graph with the same features in the same order"
                )

    @property
    def _trainer(self) -> Trainer:
        trainer: Trainer = resolve("trainer", self.settings["trainer"])
        return trainer


def open_run(path: str | Path) -> Run:
    """Opens a finished run from its folder; the data need not be there any more."""
    return Run(path)
