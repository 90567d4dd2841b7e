"""``gcl embed``."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gcl.cli.common import AsJson, DataRoot, print_json
from gcl.core.errors import ConfigError, OutputError, unknown
from gcl.core.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".npz", ".npy", ".csv")


def embed(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        str | None, typer.Argument(help="Another graph with the same features [the embeddings saved with the run].")
    ] = None,
    out: Annotated[Path, typer.Option(help="A new file: .safetensors, .npz, .npy or .csv.")] = Path("embeddings.npz"),
    name: Annotated[
        str | None, typer.Option(help="Which embeddings, where a run has several: user or item [the first].")
    ] = None,
    data_root: DataRoot = None,
    json: AsJson = False,
) -> None:
    """Embeddings of a trained run, also for a new graph; the training data need not be there."""
    from gcl.run.open_run import open_run

    if out.suffix not in SUFFIXES:
        raise ConfigError(f"{out} must end in one of {', '.join(SUFFIXES)}")
    if out.exists():
        raise OutputError(f"{out} exists; choose another --out or remove it first")
    opened = open_run(run)
    named = opened.embeddings
    if name is not None and name not in named:
        raise ConfigError(unknown("embeddings", name, named))
    which = name or next(iter(named))
    if data is None:
        embeddings, ids = named[which], opened.ids_of(which)
        _write(out, embeddings, ids)
        shape = tuple(embeddings.shape)
    else:
        from gcl.data.stored_graph import is_stored_graph
        from gcl.run.run_data import load_for_run

        dataset = load_for_run(opened.settings, data, data_root=data_root)
        if out.suffix == ".npy" and is_stored_graph(data) and opened.embed_into(dataset.graph, out):
            shape = (dataset.graph.num_nodes, named[which].shape[1])
        else:
            made = opened.embed(dataset.graph).embeddings
            if which not in made:
                raise ConfigError(f"{which!r} is of the run's own graph alone; of another there is {', '.join(made)}")
            shape = tuple(made[which].shape)
            own = dataset.other_ids.get(which, dataset.node_ids)
            _write(out, made[which], own if own and len(own) == shape[0] else [str(index) for index in range(shape[0])])
    record = {"out": str(out), "name": which, "n": shape[0], "dimension": shape[1]}
    if json:
        print_json(record)
        return
    others = [other for other in named if other != which]
    more = f" ({which}; --name gives {' or '.join(others)})" if others else ""
    held = data is None and any(
        spec["name"] == "links" and spec.get("protocol") != "reconstruction"
        for spec in opened.settings["evaluate"].values()
    )
    without = (
        "; they are of the graph without the held-out edges, `gcl embed RUN DATASET` gives those of the whole"
        if held
        else ""
    )
    typer.echo(f"{record['n']} embeddings of dimension {record['dimension']} written to {out}{more}{without}")


def _write(path: Path, embeddings: Tensor, ids: list[str]) -> None:
    import numpy as np

    with atomic_write(path, overwrite=False) as temporary:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file({"embedding": embeddings.contiguous()}, temporary, {"ids": json_module.dumps(ids)})
        elif path.suffix == ".npz":
            np.savez_compressed(temporary, embeddings=embeddings.numpy(), ids=np.array(ids))
        elif path.suffix == ".npy":
            np.save(temporary, embeddings.numpy())
        else:
            header = ",".join(["id", *(f"z{index}" for index in range(embeddings.shape[1]))])
            with open(temporary, "w", encoding="utf-8") as stream:
                stream.write(header + "\n")
                for name, row in zip(ids, embeddings.tolist(), strict=True):
                    stream.write(",".join([_quoted(name), *(repr(value) for value in row)]) + "\n")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text
