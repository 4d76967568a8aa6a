"""What the platform and the programs under `jobs/` promise each other: variables, folders and files.

The platform sets RAYSVC_ATTEMPT, RAYSVC_CHECKPOINT_DIR (survives attempts) and RAYSVC_OUTPUT_DIR (kept with the job);
both folders must be reachable under the same path from every node that runs a part of the job. A program appends to
`metrics.jsonl` in the output folder one JSON object a line, with at least `step`, `total_steps`, `time` (seconds since
the epoch) and `attempt`. After a resume steps repeat: a reader keeps the last line of each step, and ignores a last
line that is cut short.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"
WORKERS = "workers.json"


@dataclass(frozen=True)
class Place:
    """Where this attempt of a job keeps its files."""

    attempt: int
    checkpoints: Path
    outputs: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Place":
        """Return the place that the platform names, or folders under the current one; makes both folders."""
        place = cls(
            attempt=int(environment.get("RAYSVC_ATTEMPT", "1")),
            checkpoints=Path(environment.get("RAYSVC_CHECKPOINT_DIR", "checkpoints")).absolute(),
            outputs=Path(environment.get("RAYSVC_OUTPUT_DIR", "outputs")).absolute(),
        )
        place.checkpoints.mkdir(parents=True, exist_ok=True)
        place.outputs.mkdir(parents=True, exist_ok=True)
        return place


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_file(path, (json.dumps(value, indent=2) + "\n").encode())


class MetricsLog:
    """Appends to metrics.jsonl. A line that an earlier, killed writer left unfinished is ended first."""

    def __init__(self, place: Place) -> None:
        self._attempt = place.attempt
        self._path = place.outputs / METRICS
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def append(self, **fields: Any) -> None:
        line = json.dumps({**fields, "time": round(time.time(), 3), "attempt": self._attempt})
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")  # one write, so that a line is whole or last


class MetricsFollower:
    """Reads what is appended to metrics.jsonl from now on."""

    def __init__(self, place: Place) -> None:
        self._path = place.outputs / METRICS
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are complete and were not yet read."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    yield json.loads(line)
                except ValueError:  # what a killed writer left
                    continue
