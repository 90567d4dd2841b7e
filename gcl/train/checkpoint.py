"""Checkpoints that are whole or not there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gcl.core.context import Clock
from gcl.core.errors import CheckpointError, OutputError
from gcl.core.files import sync_folder, write_json

FORMAT = 1
FOLDER = re.compile(r"step-(\d+)-(\d+)")


@dataclass
class TrainerState:
    """Where a run stands; small and JSON.

    Args:
        clock: the last epoch begun and the optimiser steps done. ``clock.batch`` is 0 where that epoch was finished
            and recorded, else the steps done inside it.
        seed: of the random streams.
        best_metric, best_step, best_epoch: of the weights that selection prefers so far, in this stage.
        bad_epochs: epochs without progress of the training loss; ``lowest_loss`` is what they are compared with.
        data_fingerprint, prepared_sha256, config_sha256: what the run was started on.
        format: version of the checkpoint's layout.
        stage: position of the stage.
        epochs: epochs finished, over all stages.
        sums: of an unfinished epoch, name to (weighted sum over its steps, sum of their weights).
        metrics_bytes: length of ``metrics.jsonl`` at this moment.
        elapsed: seconds of training so far.
        stopped_early: whether patience or the time limit ended a stage.
        finished: whether training is over; the weights are then those that were selected.
    """

    clock: Clock
    seed: int
    best_metric: float | None = None
    best_step: int | None = None
    bad_epochs: int = 0
    data_fingerprint: str = ""
    prepared_sha256: str = ""
    config_sha256: str = ""
    format: int = FORMAT
    stage: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    lowest_loss: float | None = None
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)
    metrics_bytes: int = 0
    elapsed: float = 0.0
    stopped_early: bool = False
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values (floats keep their bits; NaN and infinities are Python's extension)."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TrainerState:
        """The inverse of :meth:`to_json`."""
        sums = {name: (total, count) for name, (total, count) in record["sums"].items()}
        return cls(**{**record, "clock": Clock(**record["clock"]), "sums": sums})


@dataclass
class Checkpoint:
    """Everything that the next step depends on.

    Args:
        model: the method's ``state_dict``.
        state: where the run stands.
        optimizer: state of the optimiser; ``None`` after the last step. (The learning rate is a function of the epoch.)
        best: the weights that selection prefers so far, if they are kept.
        random: global random states, for foreign modules.
    """

    model: Mapping[str, Tensor]
    state: TrainerState
    optimizer: Mapping[str, Any] | None = None
    best: Mapping[str, Tensor] | None = None
    random: Mapping[str, Any] | None = None


class CheckpointStore:
    """Named checkpoints in a folder.

    ``<name>.json`` points to a folder ``step-<n>-<k>`` whose ``manifest.json`` lists every file with size and SHA-256.
    A save makes the folder complete and durable beside the old one before the pointer is replaced, so a crash at any
    moment leaves the old or the new checkpoint. Reading executes no pickle. Only one process may save; any may load.

    Args:
        folder: where they are; made by the first save.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)

    def exists(self, name: str = "last") -> bool:
        """Whether a checkpoint of this name was saved.

        Raises:
            OutputError: the folder may not be looked into.
        """
        try:
            return self._pointer(name).exists()
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be read ({error}); choose a folder that you may use") from error

    # -- writing -----------------------------------------------------------------------------------------------------

    def save(self, name: str, checkpoint: Checkpoint) -> Path:
        """Writes a checkpoint in place of the one of the same name, and gives its folder.

        Raises:
            OutputError: it could not be written; the old one is still there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            taken = [int(match[2]) for path in self.folder.iterdir() if (match := FOLDER.fullmatch(path.name))]
            final = self.folder / f"step-{checkpoint.state.clock.step}-{max(taken, default=0) + 1}"
            temporary = self.folder / f".{final.name}"
            temporary.mkdir()
            _write_files(temporary, checkpoint)
            manifest = _write_manifest(temporary)
            os.replace(temporary, final)
            sync_folder(self.folder)
            write_json(self._pointer(name), {"format": FORMAT, "folder": final.name, "manifest_sha256": manifest})
        # torch and safetensors report a full disk by errors of their own.
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise OutputError(
                f"the checkpoint could not be written to {self.folder} ({error}); make room or allow writing "
                "there, and resume"
            ) from error
        with suppress(OSError):  # the checkpoint is there; the next save cleans up
            self._clean()
        return final

    def clean(self) -> None:
        """Removes what interrupted saves left behind. Only the process that saves may call it.

        Raises:
            OutputError: the folder cannot be read or changed.
        """
        try:
            self._clean()
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be cleaned of interrupted saves ({error}); allow writing there or choose "
                "another folder"
            ) from error

    def _clean(self) -> None:
        if not self.folder.is_dir():
            return
        try:
            used = {
                _read_json(path)["folder"]
                for path in self.folder.iterdir()
                if path.suffix == ".json" and not path.name.startswith(".")
            }
        except (CheckpointError, KeyError, TypeError):
            return  # a damaged pointer: nothing is thrown away that might still be wanted
        for path in list(self.folder.iterdir()):
            if path.is_dir() and FOLDER.fullmatch(path.name.lstrip(".")) and path.name not in used:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(".") and path.suffix == ".json":
                path.unlink(missing_ok=True)

    # -- reading -----------------------------------------------------------------------------------------------------

    def load(self, name: str = "last") -> Checkpoint:
        """Reads a checkpoint on the CPU, every file checked against the manifest.

        Raises:
            CheckpointError: it is absent, damaged or of another version.
        """
        folder = self._verified_folder(name)
        state_file = folder / "trainer.json"
        try:
            state = TrainerState.from_json(_read_json(state_file))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{state_file} does not hold the state of a trainer; {MEND}") from error
        rest = _read_torch(folder / "trainer.pt")
        return Checkpoint(
            model=_read_tensors(folder / "model.safetensors"),
            state=state,
            optimizer=rest["optimizer"],
            best=_read_tensors(folder / "best.safetensors") if (folder / "best.safetensors").exists() else None,
            random=rest["random"],
        )

    def load_weights(self, name: str = "last") -> dict[str, Tensor]:
        """Only the weights of a checkpoint, verified as in :meth:`load`."""
        return _read_tensors(self._verified_folder(name) / "model.safetensors")

    def _verified_folder(self, name: str) -> Path:
        pointer_file = self._pointer(name)
        pointer = _read_json(pointer_file)
        _check_format(pointer, pointer_file)
        folder_name = pointer.get("folder")
        if not isinstance(folder_name, str) or not FOLDER.fullmatch(folder_name):
            raise CheckpointError(f"{pointer_file} does not name a checkpoint folder; {MEND}")
        manifest_file = self.folder / folder_name / "manifest.json"
        manifest = _read_json(manifest_file)
        _check_format(manifest, manifest_file)
        try:
            if _sha256(manifest_file) != pointer.get("manifest_sha256"):
                raise CheckpointError(f"{manifest_file} is not the one that {pointer_file.name} points to; {MEND}")
            for file_name, entry in manifest["files"].items():
                _verify(manifest_file.with_name(file_name), entry)
        except OSError as error:
            raise CheckpointError(f"the checkpoint {manifest_file.parent} cannot be read ({error}); {MEND}") from error
        return manifest_file.parent

    def _pointer(self, name: str) -> Path:
        if not re.fullmatch(r"[a-z]+", name):
            raise ValueError(f"a checkpoint's name has lower-case letters only, got {name!r}")
        return self.folder / f"{name}.json"


MEND = "restore it from a copy, or train again in a new folder"


def _write_files(folder: Path, checkpoint: Checkpoint) -> None:
    (folder / "trainer.json").write_text(json.dumps(checkpoint.state.to_json(), indent=2) + "\n", encoding="utf-8")
    _write_tensors(folder / "model.safetensors", checkpoint.model)
    if checkpoint.best is not None:
        _write_tensors(folder / "best.safetensors", checkpoint.best)
    torch.save({"optimizer": checkpoint.optimizer, "random": checkpoint.random}, folder / "trainer.pt")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Clones, because safetensors refuses tensors that share memory (tied weights).
    whole = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    safetensors.torch.save_file(whole, path)


def _write_manifest(folder: Path) -> str:
    """Syncs every file and writes the manifest last. Returns the manifest's SHA-256."""
    files = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    manifest = folder / "manifest.json"
    with open(manifest, "w", encoding="utf-8") as stream:
        stream.write(json.dumps({"format": FORMAT, "files": files}, indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(folder)
    return _sha256(manifest)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _verify(path: Path, entry: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise CheckpointError(f"checkpoint file {path} is missing; {MEND}")
    size = path.stat().st_size
    if size != entry["size"]:
        raise CheckpointError(f"checkpoint file {path} has {size} bytes instead of {entry['size']}; {MEND}")
    if _sha256(path) != entry["sha256"]:
        raise CheckpointError(f"checkpoint file {path} was altered (its SHA-256 differs from the manifest's); {MEND}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint file {path} is missing; {MEND}") from error
    except (ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint file {path} cannot be read as JSON; {MEND}") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"checkpoint file {path} does not hold a JSON object; {MEND}")
    return record


def _check_format(record: Mapping[str, Any], path: Path) -> None:
    if record.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {record.get('format')!r}, but this version of gcl reads {FORMAT}; use the "
            "version that wrote it"
        )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"checkpoint file {path} cannot be read as safetensors; {MEND}") from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
        return {"optimizer": record["optimizer"], "random": record["random"]}
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint file {path} does not hold a trainer's tensors and numbers; {MEND}"
        ) from error
