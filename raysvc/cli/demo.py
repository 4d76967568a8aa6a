"""`raysvc demo`: the whole platform at work on a real training job, with a worker killed on the way."""

import importlib.util
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import psutil
import typer

from raysvc import payload
from raysvc.cli.exit import Code
from raysvc.cli.output import say
from raysvc.cli.screen import Screen, sparkline
from raysvc.cli.specfile import read_spec
from raysvc.cli.stage import Stage
from raysvc.client.client import Client
from raysvc.client.model import Job
from raysvc.domain.job import JobPhase
from raysvc.errors import Invalid, NotFound

app = typer.Typer(add_completion=False)

_PROGRAM = "train_lm"
_NEEDED = ("ray", "torch", "tokenizers", "safetensors")
# Seconds that each part may take before the demo gives up: some four times what two cores need.
_BEGIN_S, _TRAIN_S, _RESUME_S = 240.0, 900.0, 180.0
_LOOK_S = 0.5
# Past some checkpoints, with something left to train.
_KILL_AT = 0.4
_SAMPLE_LINES = 12


@app.command(help="See it all work, in some minutes: a platform, a training job, a killed worker, and a resume.")
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform running at the end.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where it keeps all; a temporary folder if not given.")] = None,
) -> None:
    _check_installed()
    folder = (data_dir or Path(tempfile.mkdtemp(prefix="raysvc-demo-"))).expanduser().absolute()
    try:
        with _ending_in_order(), Screen() as screen, Stage(folder) as stage:
            _Demo(screen, stage).run(keep=keep)
            if keep:
                stage.keep()
            else:
                screen.head("Stopping the platform. `raysvc demo --keep` leaves it running.")
    finally:
        if data_dir is None and not (keep and (folder / "server.json").exists()):
            shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    """The parts of the demo, each of which really happened or ends it."""

    def __init__(self, screen: Screen, stage: Stage) -> None:
        self._screen = screen
        self._stage = stage

    def run(self, *, keep: bool) -> None:
        screen = self._screen
        screen.head("Starting the platform: control plane, API and a Ray of its own")
        with self._stage.start(lambda: screen.busy("starting")) as client:
            screen.idle()
            screen.say(f"serving at {client.server.url}; Ray goes on starting")
            job = self._submit(client)
            self._train_until(client, job, lambda now: now.progress is not None and _part(now) >= _KILL_AT)
            killed_at = self._kill(client, job)
            self._resume(client, job, killed_at)
            self._finish(client, job)
            self._sample(client, job)
            self._look_around(client, job, keep=keep)

    def _submit(self, client: Client) -> Job:
        file = payload.program(_PROGRAM) / "job.yaml"
        job = client.jobs.submit(read_spec(file), name="demo")
        self._screen.head(f"Submitted {job.id}: a Llama of about a million weights learns from Python's documentation")
        self._screen.say("accepted and on disk; it waits in the queue until Ray is there")
        return job

    def _train_until(self, client: Client, job: Job, done: Callable[[Job], bool]) -> Job:
        begun = time.monotonic()
        while True:
            now = client.jobs.get(job.id)
            self._screen.training(now)
            if done(now):
                self._screen.idle()
                return now
            if not now.live:
                self._fail(client, now, f"The job ended too early: {now.phase}, {now.reason.title}.")
            waited = time.monotonic() - begun
            if waited > (_BEGIN_S if now.progress is None else _BEGIN_S + _TRAIN_S):
                self._fail(client, now, f"The job is still {now.phase} after {waited:.0f} s: {now.reason.title}.")
            time.sleep(_LOOK_S)

    def _kill(self, client: Client, job: Job) -> int:
        """Kill the last worker, and return the step at which it was."""
        card = _workers(client, job)["workers"][-1]
        worker = _worker(card["pid"], self._stage.data_dir)
        if worker is None:
            self._fail(client, job, f"Process {card['pid']} is not a training worker of this platform.")
        step = _step(client.jobs.get(job.id))
        worker.send_signal(signal.SIGKILL)
        self._screen.head(f"Killed training worker {card['rank']} (pid {card['pid']}) at step {step}, with SIGKILL")
        if not psutil.wait_procs([worker], timeout=10)[0]:
            self._fail(client, job, f"Process {card['pid']} survived SIGKILL.")
        return step

    def _resume(self, client: Client, job: Job, killed_at: int) -> None:
        """Wait for the workers to come back, and check that they went on from a checkpoint."""
        begun = time.monotonic()
        while True:
            found = _workers(client, job)
            if found["resumed_from"] is not None:
                break
            now = client.jobs.get(job.id)
            if not now.live or time.monotonic() - begun > _RESUME_S:
                self._fail(client, now, f"The job did not resume: {now.phase}, {now.reason.title}.")
            self._screen.busy("its group of workers is started again")
            time.sleep(_LOOK_S)
        self._screen.idle()
        step = found["resumed_from"]
        if not 0 < step <= killed_at + 1:
            self._fail(client, job, f"The job resumed from step {step}, and was killed at step {killed_at}.")
        took = time.monotonic() - begun
        self._screen.head(f"Resumed from the checkpoint of step {step}, not from 0, {took:.0f} s later")

    def _finish(self, client: Client, job: Job) -> None:
        ended = self._train_until(client, job, lambda now: not now.live)
        if ended.phase is not JobPhase.SUCCEEDED:
            self._fail(client, ended, f"The job {ended.phase.lower()}: {ended.reason.title}. {ended.reason.message}")
        points = client.jobs.metrics(job.id, limit=200).points
        losses = [float(loss) for point in points if (loss := point.get("loss")) is not None]
        if not losses or losses[-1] >= losses[0]:
            self._fail(client, ended, "The loss did not fall.")
        self._screen.head(f"Trained to step {_step(ended)}")
        self._screen.say(f"loss {losses[0]:.2f} {sparkline(losses)} {losses[-1]:.2f}")

    def _sample(self, client: Client, job: Job) -> None:
        text = b"".join(client.jobs.artifacts.read(job.id, "samples.txt")).decode(errors="replace").strip()
        if not text:
            self._fail(client, job, "The model wrote nothing.")
        self._screen.head("What the model writes by now")
        self._screen.raw("\n".join(text.splitlines()[:_SAMPLE_LINES]))

    def _look_around(self, client: Client, job: Job, *, keep: bool) -> None:
        said = json.loads((self._stage.data_dir / "server.json").read_text())
        self._screen.head("Where to look" if keep else "Where to look, with --keep")
        places = {
            "job page": f"{client.server.url}/jobs/{job.id}",
            "Ray dashboard": said["dashboard_url"],
            "API docs": f"{client.server.url}/docs",
            "log in with": f"the token in {self._stage.data_dir / 'admin-token'}",
            "this platform": f"export RAYSVC_DATA_DIR={self._stage.data_dir}",
            "logs": f"raysvc job logs {job.id}",
            "the model": f"raysvc job artifacts {job.id}",
            "stop it": f"kill {said['pid']}",
        }
        for name, place in places.items():
            self._screen.say(f"{name:<15}{place}")

    def _fail(self, client: Client, job: Job, why: str) -> NoReturn:
        self._screen.idle()
        self._screen.head(f"The demo failed. {why}")
        self._screen.raw("".join(client.jobs.tail(job.id, 2000)) or self._stage.last_words())
        raise typer.Exit(Code.FAILED)


def _workers(client: Client, job: Job) -> dict[str, Any]:
    """Return what the program wrote about its workers; none resumed where it has not written yet."""
    try:
        found: dict[str, Any] = json.loads(b"".join(client.jobs.artifacts.read(job.id, "workers.json")))
    except NotFound:
        return {"resumed_from": None, "workers": []}
    return found


def _worker(pid: int, data_dir: Path) -> psutil.Process | None:
    """Return the process of that pid if it is a Ray worker below this data directory's Ray, else None."""
    try:
        process = psutil.Process(pid)
        if not process.cmdline()[0].startswith("ray::"):
            return None
        return process if any(str(data_dir) in " ".join(each.cmdline()) for each in process.parents()) else None
    except (psutil.Error, IndexError):
        return None


def _step(job: Job) -> int:
    return job.progress.step if job.progress else 0


def _part(job: Job) -> float:
    return (job.progress.fraction or 0.0) if job.progress else 0.0


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Invalid(
            f"The demo trains a model on a Ray of this machine, and {', '.join(missing)} are not installed here. "
            "Install the extra: pip install 'raysvc[ray]' (or, in a checkout, uv sync --extra ray)."
        )


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does: with what it started taken down."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted: stopping the platform.")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
