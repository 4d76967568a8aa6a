import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train_lm.checkpoint import Checkpoints

from raysvc.payload import working_dir

STATE = {"weights": torch.arange(1000.0), "step": 1, "nested": [("MT19937", 2**40), None]}


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> Checkpoints:
    return Checkpoints(tmp_path, keep=2, say=said.append)


def newest(store: Checkpoints) -> int | None:
    found = store.newest()
    return found.step if found else None


def test_what_is_saved_is_loaded(store: Checkpoints) -> None:
    store.save(7, STATE, {"lr": 0.1})
    found = store.newest()
    assert found is not None
    assert (found.step, found.settings) == (7, {"lr": 0.1})
    state = found.load()
    assert torch.equal(state.pop("weights"), STATE["weights"])  # type: ignore[arg-type]
    assert state == {key: value for key, value in STATE.items() if key != "weights"}


def test_there_is_none_at_first(tmp_path: Path, store: Checkpoints) -> None:
    assert store.newest() is None
    assert Checkpoints(tmp_path / "absent").newest() is None


def test_the_last_ones_are_kept(tmp_path: Path, store: Checkpoints) -> None:
    for step in (1, 2, 100_000_000, 3_000_000_000):
        store.save(step, STATE, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-100000000", "step-3000000000"]
    assert newest(store) == 3_000_000_000


@pytest.mark.parametrize("harm", ["truncate", "flip", "no manifest", "bad manifest", "no state", "empty"])
def test_a_damaged_checkpoint_is_skipped_and_named(store: Checkpoints, said: list[str], harm: str) -> None:
    store.save(1, STATE, {})
    folder = store.save(2, STATE, {})
    state, manifest = folder / "state.pt", folder / "manifest.json"
    content = state.read_bytes()
    match harm:
        case "truncate":
            state.write_bytes(content[: len(content) // 2])
        case "flip":
            state.write_bytes(content[:-200] + bytes([content[-200] ^ 1]) + content[-199:])
        case "no manifest":
            manifest.unlink()
        case "bad manifest":
            manifest.write_text('{"step": 2, "si')
        case "no state":
            state.unlink()
        case "empty":
            state.unlink()
            manifest.unlink()
    assert newest(store) == 1
    assert len(said) == 1
    assert said[0].startswith("skipping checkpoint step-00000002: ")


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path: Path, store: Checkpoints) -> None:
    (store.save(2, STATE, {}) / "state.pt").write_bytes(b"")
    (store.save(3, STATE, {}) / "state.pt").write_bytes(b"")
    store.save(2, STATE, {})
    assert newest(store) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000002", "step-00000003"}


def test_a_draft_of_a_writer_that_died_is_never_read_and_goes_with_the_next_save(
    tmp_path: Path, store: Checkpoints
) -> None:
    draft = tmp_path / ".step-00000009.123"
    store.save(9, STATE, {}).rename(draft)
    assert newest(store) is None
    store.save(1, STATE, {})
    assert not draft.exists()


def test_a_checkpoint_that_names_code_is_not_run(tmp_path: Path, store: Checkpoints) -> None:
    """Who can write into the folder must not be able to run code in the next attempt."""
    store.save(1, {"harm": _Harm(tmp_path / "harmed")}, {})
    found = store.newest()
    assert found is not None
    with pytest.raises(Exception, match="Weights only load failed"):
        found.load()
    assert not (tmp_path / "harmed").exists()


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


_WRITER = """
import sys, torch
from pathlib import Path
from train_lm.checkpoint import Checkpoints
store = Checkpoints(Path(sys.argv[1]), keep=2)
for step in range(1, 1_000_000):
    store.save(step, {"weights": torch.full((500_000,), float(step))}, {})
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_newest_checkpoint(tmp_path: Path, said: list[str]) -> None:
    store = Checkpoints(tmp_path, say=said.append)
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], cwd=working_dir()) as writer:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("step-*3")):
            assert writer.poll() is None
            assert time.monotonic() < deadline
        writer.send_signal(signal.SIGKILL)
    found = store.newest()
    assert found is not None
    assert found.step >= 2
    assert set(found.load()["weights"].tolist()) == {float(found.step)}
    assert said == []
