"""Checkpoints that are complete or not there.

`step-00000120/` holds `state.pt` and `manifest.json` (step, size and SHA-256 of the state, the run's settings). It is
written under another name, synced, and renamed: a crash leaves a draft that nobody reads. What disks and copies do to
it later is found by size and hash, and then an older checkpoint serves.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train_lm.contract import sync

_NAME = re.compile(r"step-(\d{8,})")
_STATE, _MANIFEST = "state.pt", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was whole when it was found; `settings` are those of the run that wrote it."""

    step: int
    settings: dict[str, Any]
    path: Path

    def load(self) -> dict[str, Any]:
        """Return the state, on the CPU. Nothing but tensors and plain values is unpickled."""
        state: dict[str, Any] = torch.load(self.path / _STATE, map_location="cpu", weights_only=True)
        return state


class Checkpoints:
    """The checkpoints of one run in one folder; one process writes (rank 0), any may read."""

    def __init__(self, folder: Path, *, keep: int = 3, say: Callable[[str], None] = print) -> None:
        self.say = say
        self._folder = folder
        self._keep = keep

    def save(self, step: int, state: dict[str, Any], settings: dict[str, Any]) -> Path:
        """Write a checkpoint, durably, and drop the oldest beyond `keep`. Saving a step again replaces it."""
        final = self._folder / f"step-{step:08d}"
        draft = self._folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        torch.save(state, draft / _STATE)
        size, digest = _measure(draft / _STATE)
        manifest = {"step": step, "size": size, "sha256": digest, "settings": settings}
        (draft / _MANIFEST).write_text(json.dumps(manifest, indent=2))
        for path in (draft / _STATE, draft / _MANIFEST, draft):
            sync(path)
        shutil.rmtree(final, ignore_errors=True)  # of the same step: either damaged or equal
        draft.rename(final)
        sync(self._folder)
        self._prune(step)
        return final

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; says which it skipped, and why. None where there is none."""
        for path in self._paths().values():
            try:
                return _examine(path)
            except (OSError, ValueError, KeyError) as problem:
                self.say(f"skipping checkpoint {path.name}: {problem}")
        return None

    def _paths(self) -> dict[int, Path]:
        """Return the checkpoints' folders by step, newest first."""
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        found = {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}
        return dict(sorted(found.items(), reverse=True))

    def _prune(self, written: int) -> None:
        """Keep the last ones up to the one just written; drafts of writers that died go too."""
        older = [path for step, path in self._paths().items() if step <= written]
        for path in [*older[self._keep :], *self._folder.glob(".step-*")]:
            shutil.rmtree(path, ignore_errors=True)


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def _examine(path: Path) -> Checkpoint:
    manifest = json.loads((path / _MANIFEST).read_text())
    size, digest = _measure(path / _STATE)
    if size != manifest["size"]:
        message = f"{_STATE} has {size:,} bytes, its manifest says {manifest['size']:,}"
        raise ValueError(message)
    if digest != manifest["sha256"]:
        message = f"the contents of {_STATE} are not what was written (SHA-256 differs)"
        raise ValueError(message)
    return Checkpoint(step=manifest["step"], settings=manifest["settings"], path=path)
