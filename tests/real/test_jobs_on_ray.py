"""The programs under `jobs/` on a real Ray of two CPUs: trained, killed, resumed; inferred from; swept over."""

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from raysvc.payload import archive

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

_PATIENCE_S = 240  # for one program on a machine that does much else too; alone, each takes some 20 s
_SMALL = ["--layers=2", "--width=64", "--heads=2", "--kv-heads=1", "--vocab-size=512", "--context=64"]
_STEPS = 150
_TRAIN = [*_SMALL, f"--steps={_STEPS}", "--batch=8", "--dropout=0.1", "--log-every=1", "--checkpoint-every=10"]

# A token of its own: else Ray makes one in the home folder, and would take what it finds there.
# Ray looks for a `uv run` above a driver and would send its pyproject.toml along; on a cluster there is none above.
_ENV = {
    **os.environ,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
_RAY = """
import sys, ray
ray.init("local", num_cpus=2, num_gpus=0, include_dashboard=False, _temp_dir=sys.argv[1],
         object_store_memory=200_000_000, log_to_driver=False, logging_level="error")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    """A Ray that lives as long as this module's tests."""
    with tempfile.TemporaryDirectory(prefix="rj") as folder:  # short: sockets' paths have 107 bytes
        command = [sys.executable, "-c", _RAY, folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_ENV) as ray:
            assert ray.stdin is not None
            assert ray.stdout is not None
            yield ray.stdout.readline().strip()
            ray.stdin.close()
            ray.wait(60)


class Program:
    """One attempt of a program, as the platform runs it."""

    def __init__(self, place: Path, process: subprocess.Popen[str], attempt: int) -> None:
        self.outputs = place / "o"
        self.checkpoints = place / "c"
        self.process = process
        self._log = place / f"log-{attempt}.txt"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def metrics(self) -> list[dict[str, Any]]:
        path = self.outputs / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        while not (value := condition()):
            assert self.process.poll() is None, f"it ended too early:\n{self.log}"
            assert time.monotonic() < deadline, f"it takes too long:\n{self.log}"
            time.sleep(0.02)
        return value

    def end(self) -> int:
        return self.process.wait(_PATIENCE_S)


Start = Callable[..., AbstractContextManager[Program]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory as a cluster gets it."""
    folder = tmp_path_factory.mktemp("shipped")
    zipfile.ZipFile(io.BytesIO(archive())).extractall(folder)
    return folder


@pytest.fixture(scope="module")
def start(ray_address: str, shipped: Path) -> Start:
    @contextmanager
    def go(name: str, *arguments: str, place: Path, attempt: int = 1) -> Iterator[Program]:
        place.mkdir(exist_ok=True)
        environment = {
            **_ENV,
            "RAY_ADDRESS": ray_address,
            "RAYSVC_ATTEMPT": str(attempt),
            "RAYSVC_CHECKPOINT_DIR": str(place / "c"),
            "RAYSVC_OUTPUT_DIR": str(place / "o"),
        }
        with (
            (place / f"log-{attempt}.txt").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", name, *arguments],
                cwd=shipped,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            try:
                yield Program(place, process, attempt)
            finally:
                process.kill()

    return go


@pytest.fixture(scope="module")
def trained(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A run that nothing interrupted."""
    with start("train_lm", *_TRAIN, place=tmp_path_factory.mktemp("straight")) as program:
        assert program.end() == 0, program.log
    return program


def by_step(lines: list[dict[str, Any]], name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in lines if name in line}


def kill_worker(program: Program, rank: int, resumed_from: int) -> int:
    """Kill one some steps after it resumed; return the step from which the group goes on."""
    program.until(lambda: program.metrics()[-1]["step"] >= resumed_from + 20)
    found = json.loads((program.outputs / "workers.json").read_text())
    assert (found["attempt"], found["resumed_from"]) == (2, resumed_from)
    os.kill(found["workers"][rank]["pid"], signal.SIGKILL)
    later = program.until(
        lambda: [n for line in program.metrics() if (n := line.get("resumed_from", 0)) > resumed_from]
    )
    return int(later[0])


def test_a_run_learns_reports_and_leaves_a_model(trained: Program) -> None:
    losses = by_step(trained.metrics(), "loss")
    assert list(losses) == list(range(1, _STEPS + 1))
    assert losses[_STEPS] < losses[1] - 1
    assert by_step(trained.metrics(), "eval_loss")[_STEPS] < losses[1] - 1
    assert f"step   {_STEPS}/{_STEPS}  loss " in trained.log
    assert (trained.outputs / "samples.txt").read_text().startswith("The following")
    model = {path.name for path in (trained.outputs / "model").iterdir()}
    assert model == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    workers = json.loads((trained.outputs / "workers.json").read_text())
    assert [worker["rank"] for worker in workers["workers"]] == [0, 1]
    assert len({worker["pid"] for worker in workers["workers"]}) == 2
    assert not (trained.checkpoints / "ray-train").exists()


def test_a_stopped_job_whose_workers_are_killed_ends_as_one_that_ran_through(
    trained: Program, start: Start, tmp_path: Path
) -> None:
    """Stopped by SIGTERM in attempt 1; in attempt 2 each worker is killed once, and the group goes on within it."""
    with start("train_lm", *_TRAIN, place=tmp_path) as first:
        first.until(lambda: len(first.metrics()) >= 20)
        first.process.send_signal(signal.SIGTERM)
        assert first.end() == 128 + signal.SIGTERM, first.log
        assert "stopped by a signal" in first.log
    with start("train_lm", *_TRAIN, place=tmp_path, attempt=2) as second:
        mine = second.until(lambda: [line for line in second.metrics() if line["attempt"] == 2])
        resumed = [mine[0]["resumed_from"]]
        assert resumed[0] >= 20
        for rank in (0, 1):
            resumed.append(kill_worker(second, rank, resumed[-1]))
        assert second.end() == 0, second.log
    assert resumed[0] < resumed[1] < resumed[2]  # never from 0
    assert [step % 10 for step in resumed[1:]] == [0, 0]
    assert all(f"resumed from step {step}\n" in second.log for step in resumed)
    for name in ("loss", "eval_loss"):
        assert by_step(second.metrics(), name) == pytest.approx(by_step(trained.metrics(), name), abs=1e-6)
    one, other = (load_file(program.outputs / "model" / "model.safetensors") for program in (trained, second))
    assert all((one[key] - other[key]).abs().max() < 1e-6 for key in one)
    assert (second.outputs / "samples.txt").read_text() == (trained.outputs / "samples.txt").read_text()


def test_inference_skips_the_shards_that_are_done(trained: Program, start: Start, tmp_path: Path) -> None:
    arguments = [f"--model={trained.outputs}", "--shard-size=5", "--max-tokens=12", "--batch=2"]
    with start("batch_infer", *arguments, place=tmp_path) as first:
        assert first.end() == 0, first.log
    parts = sorted((first.outputs / "completions").glob("part-*.jsonl"))
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(12))
    assert all(row["completion"] for row in rows)
    assert rows[0]["prompt"] == "The following"

    before = {part: part.read_text() for part in parts}
    times = {part: part.stat().st_mtime_ns for part in parts}
    parts[1].unlink()
    with start("batch_infer", *arguments, place=tmp_path, attempt=2) as second:
        assert second.end() == 0, second.log
        assert "12 prompts in 3 shards, 2 of them done already" in second.log
    assert {part: part.read_text() for part in parts} == before  # and the same text again for the lost one
    assert [part for part in parts if part.stat().st_mtime_ns != times[part]] == [parts[1]]
    assert [(line["step"], line["attempt"]) for line in second.metrics()] == [(1, 1), (2, 1), (3, 1), (3, 2)]

    with start("batch_infer", *arguments, "--seed=9", place=tmp_path, attempt=3) as third:
        assert third.end() == 2
        assert "made with another sampling" in third.log


def test_a_sweep_whose_driver_is_killed_goes_on(start: Start, tmp_path: Path) -> None:
    arguments = [*_SMALL, "--trials=3", "--steps=60", "--grace=20", "--eval-every=20", "--checkpoint-every=10"]
    with start("sweep", *arguments, place=tmp_path) as first:
        first.until(lambda: list(first.checkpoints.glob("trials/*/step-*")) and "held out" in first.log)
        first.process.kill()
    with start("sweep", *arguments, place=tmp_path, attempt=2) as second:
        assert second.end() == 0, second.log
        assert "resumed the sweep" in second.log
    found = json.loads((second.outputs / "sweep.json").read_text())
    losses = [trial["eval_loss"] for trial in found["trials"]]
    assert len(losses) == 3
    assert found["best"]["eval_loss"] == min(losses)
    assert found["best"]["step"] == 60
    assert found["failed"] == 0
    assert second.metrics()[-1]["step"] == second.metrics()[-1]["total_steps"] == 3
    for result in second.checkpoints.glob("tune/sweep/*/result.json"):
        steps = [json.loads(line)["step"] for line in result.read_text().splitlines()]
        assert steps == sorted(steps), "a trial began again at its first step"
