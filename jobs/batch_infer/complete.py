"""What each worker does: load the model once, then complete shard after shard, each into a file of its own."""

import io
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow import parquet
from train_lm import export
from train_lm.contract import write_file
from train_lm.generate import Sampling, complete


@dataclass(frozen=True)
class Task:
    """How the shards are completed. `batch` prompts run at once; `form` is jsonl or parquet."""

    model: Path
    folder: Path
    form: str
    batch: int
    sampling: Sampling

    def path(self, shard: int) -> Path:
        """Return where a shard's completions go. The file is there only when it is whole."""
        return self.folder / f"part-{shard:05d}.{self.form}"


class Completer:
    """A callable for Dataset.map: a shard's row in, a row about it out."""

    def __init__(self, task: Task) -> None:
        self._task = task
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model, self._tokenizer = export.load(task.model, device)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        prompts = [str(prompt) for prompt in shard["prompts"]]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(prompts), self._task.batch):
            rows += self._complete(prompts[start : start + self._task.batch], int(shard["first"]) + start)
        write_file(self._task.path(int(shard["shard"])), encode(rows, self._task.form))
        tokens = sum(row["tokens"] for row in rows)
        return {"shard": shard["shard"], "prompts": len(rows), "tokens": tokens, "seconds": time.perf_counter() - began}

    def _complete(self, prompts: list[str], first: int) -> list[dict[str, Any]]:
        # Seeded by the place in the input, so that a restart, or other workers, would draw the same.
        sampling = replace(self._task.sampling, seed=self._task.sampling.seed + first)
        completions = complete(self._model, self._tokenizer, prompts, sampling)
        return [
            {"index": first + n, "prompt": prompt, "completion": self._tokenizer.decode(ids), "tokens": len(ids)}
            for n, (prompt, ids) in enumerate(zip(prompts, completions, strict=True))
        ]


def encode(rows: list[dict[str, Any]], form: str) -> bytes:
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()
