"""The programs under `jobs/` are imported as on a cluster: from their working directory."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raysvc.payload import working_dir

sys.path.insert(0, str(working_dir()))

from train_lm.data import Prepared, prepare
from train_lm.options import parser, settings
from train_lm.settings import Settings

torch.set_num_threads(1)  # as a worker of one CPU has; more would only wait for one another on models this small
TINY = ["--layers", "2", "--width", "64", "--heads", "2", "--kv-heads", "1", "--context", "32"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Python's own documentation, with a small vocabulary."""
    return prepare(tmp_path_factory.mktemp("text") / "data", "pydoc", 512)


@pytest.fixture
def tiny(prepared: Prepared) -> Any:
    """Make settings of a model small enough to train in a second; options as on the command line."""

    def make(*arguments: str) -> Settings:
        return settings(parser().parse_args([*TINY, "--workers", "1", *arguments]), prepared)

    return make


@pytest.fixture
def said() -> list[str]:
    """What a program said, line by line: pass `said.append`."""
    return []


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 200)
    return path
