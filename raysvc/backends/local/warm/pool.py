"""The pool: one thread that takes requests, starts runs, and notices their ends. See the package for the channel."""

import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ledger import Ledger
from .outcome import ended, not_started
from .python import Program, forkable, plain
from .request import Request, become_shell, prepare
from .wire import Line, Wire


@dataclass(frozen=True)
class Options:
    """`most` runs at once; after `idle_s` without one the pool ends; `grace_s` between SIGTERM and SIGKILL."""

    folder: Path
    runs: Path
    most: int
    idle_s: float
    grace_s: float


@dataclass
class Run:
    request: Request
    pid: int
    started: int
    stopped: bool = False
    kill_at: float | None = None


class Forked(BaseException):
    """Raised in a forked child, to leave the loop: no error, and nothing may catch it on the way."""

    def __init__(self, request: Request, mask: set[int | signal.Signals], pool: int) -> None:
        self.request = request
        self.mask = mask
        self.pool = pool


class Pool:
    """Runs until it has been idle for long enough, or is told to end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._ledger = Ledger(options.runs)
        self._environment = dict(os.environ)
        self._runs: dict[str, Run] = {}
        self._selector = selectors.DefaultSelector()
        self._wire = Wire(self._selector)
        self._wake, self._woken = socket.socketpair()
        self._busy_at = time.monotonic()
        self._ends_at: float | None = None
        self._primed = False

    def serve(self) -> tuple[Program, dict[str, str]] | None:
        """Serve; return None at the end, or in a forked child the Python program that it is to become."""
        self._open()
        try:
            while not self._over():
                self._turn()
        except Forked as forked:
            child = forked
        else:
            (self._options.folder / "socket").unlink(missing_ok=True)
            return None
        return self._become(child)

    def _open(self) -> None:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, _noted)
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._wire.open(self._options.folder)

    def _over(self) -> bool:
        now = time.monotonic()
        if self._ends_at is not None:
            return not self._runs or now > self._ends_at
        return not self._runs and now - self._busy_at >= self._options.idle_s

    def _turn(self) -> None:
        deadlines = [run.kill_at for run in self._runs.values() if run.kill_at is not None]
        if self._ends_at is not None:
            deadlines.append(self._ends_at)
        elif not self._runs:
            deadlines.append(self._busy_at + self._options.idle_s)
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, _ in self._selector.select(wait):
            if key.fileobj is self._wake:
                if signal.SIGTERM in self._wake.recv(4096):
                    self._give_up()
            elif taken := self._wire.take(key.fd):
                for request in taken[1]:
                    self._answer(taken[0], request)
        self._reap()
        self._kill_overdue()

    def _give_up(self) -> None:
        """End as the cluster does: whoever asks finds nobody, and a run that this cuts off has no end of its own."""
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._options.grace_s
            self._wire.refuse()
        for run in self._runs.values():
            _signal_group(run.pid, signal.SIGTERM)

    def _retire(self) -> None:
        """End now, where nothing runs."""
        if not self._runs and self._ends_at is None:
            self._give_up()

    def _answer(self, line: Line, text: bytes) -> None:
        number, result = None, dict[str, Any]()
        try:
            message = json.loads(text)
            number = message["n"]
            result["ok"] = self._do(message)
        except (ValueError, KeyError, TypeError, OSError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        self._wire.send(line, {"n": number, **result})

    def _do(self, message: dict[str, Any]) -> list[str]:
        match message["do"]:
            case "run":
                self._begin(Request(**message["run"]))
            case "stop":
                self._stop(message["id"])
            case "list":
                return list(self._runs)
            case "retire":
                self._retire()
            case other:
                raise ValueError(f"nothing is called {other!r} here")
        return []

    def _begin(self, request: Request) -> None:
        if request.id in self._runs:
            return
        if len(self._runs) >= self._options.most or self._ends_at is not None:
            raise ValueError(f"{len(self._runs)} runs are all that this pool takes now")
        started = int(time.time() * 1000)
        record = {"status": "RUNNING", "start_time": started, "driver_node_id": request.node}
        if not self._ledger.begin(request.id, {**record, "pool": self._options.folder.name}):
            return
        # A stop that comes before the child has its own handlers must reach it all the same.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            if plain(request.entrypoint) is not None:
                self._prime()
            pool, pid = os.getpid(), os.fork()
        except (OSError, ImportError) as error:  # no processes or memory left; ray cannot be imported
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._ledger.end(request.id, {**record, "end_time": int(time.time() * 1000), **not_started(error)})
            return
        if pid == 0:
            raise Forked(request, mask, pool)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._runs[request.id] = Run(request, pid, started)
        self._wire.tell({"news": request.id, "ended": False})

    def _prime(self) -> None:
        """Have in memory what Python entrypoints are forked from: ray, whose import takes most of a driver's start."""
        if not self._primed:
            importlib.import_module("ray")
            gc.collect()
            gc.freeze()  # so that a child's collector does not copy every page by writing to it
            self._primed = True

    def _become(self, child: Forked) -> tuple[Program, dict[str, str]]:
        """In the child: leave all that is the pool's, and become the run's shell, or return its Python program."""
        request, own = child.request, self._environment
        signal.set_wakeup_fd(-1)
        # Closed as objects: their numbers will be others' files, which no late destructor may close.
        self._selector.close()
        self._wire.close()
        for end in (self._wake, self._woken):
            end.close()
        environment = {**own, **request.variables}
        environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(request.config)
        if request.package:
            paths = [request.folder, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        prepare(request, self._ledger, child.mask, child.pool)
        program = forkable(request.entrypoint, environment, own)
        if program is None:
            become_shell(request.entrypoint, environment)
        environment.pop("BASH_ENV", None)  # a shell would have read it, and what it sets is set already
        return program, environment

    def _stop(self, ident: str) -> None:
        run = self._runs.get(ident)
        if run is None or run.stopped:
            return
        run.stopped = True
        run.kill_at = time.monotonic() + self._options.grace_s
        _signal_group(run.pid, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for run in self._runs.values():
            if run.kill_at is not None and run.kill_at <= now:
                _signal_group(run.pid, signal.SIGKILL)
                run.kill_at = None

    def _reap(self) -> None:
        by_pid = {run.pid: run for run in self._runs.values()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if run := by_pid.get(found.si_pid):
                # While its number is still taken: nothing of a run outlives it.
                _signal_group(run.pid, signal.SIGKILL)
            _, status = os.waitpid(found.si_pid, 0)
            if run:
                self._end(run, os.waitstatus_to_exitcode(status))

    def _end(self, run: Run, code: int) -> None:
        request = run.request
        del self._runs[request.id]
        self._busy_at = time.monotonic()
        fault = self._ledger.take_fault(request.id)
        record = {
            "start_time": run.started,
            "end_time": int(time.time() * 1000),
            "driver_node_id": request.node,
            **ended(code, Path(request.log), stopped=run.stopped, fault=fault),
        }
        if request.folder:
            shutil.rmtree(request.folder, ignore_errors=True)
        if self._ends_at is None or code == 0:
            with suppress(OSError):  # the disk is full: then the run counts as lost
                self._ledger.end(request.id, record)
            self._wire.tell({"news": request.id, "ended": True})


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a run. One that has not yet made its group is signalled alone."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _noted(_number: int, _frame: object) -> None:
    """Does nothing: the signal's number arrives at the wake-up socket."""
