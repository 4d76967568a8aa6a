"""The Ray Serve application of one revision of a service: each replica looks after a vLLM server of its own.

Serve places replicas, restarts those that are not healthy, and scales them by requests in flight. It carries no
request: those come straight to vLLM's server, through raysvc's HAProxy.
"""

import asyncio
import contextlib
import fcntl
import mmap
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

import ray
from engine import Engine, arguments, environment
from guard import GAUGE_BYTES
from ray import serve
from ray.serve._private import replica as internals
from reporter import Reporter


@serve.deployment(name="replica", max_constructor_retry_count=2)
class Replica:
    """`spec` is what the platform's driver wrote: see `app`."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        if spec["host"]:
            _keep_on(spec["host"])
        _require_model(Path(spec["model"]))
        name = serve.get_replica_context().replica_id.unique_id
        home = Path(spec["folder"])
        self._link = Path(spec["link"])
        self._folder = home / "replicas" / name
        self._folder.mkdir(mode=0o700, parents=True)
        self._lock = lock(self._folder)
        log = home / "engine.log"
        self._engine = Engine(self._folder, spec["host"] or _node_address(), log)
        self._reporter: Reporter | None = None
        try:
            self._engine.start(arguments(spec), environment(self._folder, spec["gpus"], spec["memory"]))
            self._engine.wait(spec["start_timeout_s"])
            self._gauge = _gauge(self._folder / "gauge")
            self._reporter = self._report_of(self._folder)
            self._reporter.start()
            self._inherit(home / "replicas")
        except BaseException:
            self._engine.stop()
            raise

    async def check_health(self) -> None:
        """Raise where the engine does not answer: Serve then starts another replica."""
        if not self._engine.alive or not await asyncio.to_thread(self._engine.healthy):
            raise RuntimeError(f"vLLM does not answer. Its last lines:\n{self._engine.tail()}")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve the requests in flight, of which it sees none."""
        return {"flying": float(self._gauge[0])}

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            if self._reporter is not None:
                self._reporter.stop(self._spec["drain_s"])
            self._engine.stop()
            if self._reporter is None or self._reporter.ship():
                shutil.rmtree(self._folder, ignore_errors=True)

    def _report_of(self, folder: Path) -> Reporter:
        about = {
            "service": self._spec["service"],
            "revision": self._spec["revision"],
            "replica": folder.name,
            "host": self._engine.host,
            "port": self._engine.port,
        }
        own = folder == self._folder
        return Reporter(about, folder, self._link, (lambda: int(self._gauge[0])) if own else (lambda: 0))

    def _inherit(self, replicas: Path) -> None:
        """Ship what replicas that were killed on this machine had metered and not told."""
        for folder in replicas.iterdir():
            if folder != self._folder and (held := lock(folder, wait=False)) is not None:
                if self._report_of(folder).ship():
                    shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def app(args: dict[str, Any]) -> serve.Application:
    """Return the application. `args`: service, revision, model, names, engine, host, gpus, memory, folder, timeouts."""
    return Replica.bind(args)


def by_requests(context: Any) -> tuple[int, dict[str, Any]]:
    """Return how many replicas the requests in flight need, for Serve's autoscaler, which smooths and bounds it."""
    flying = sum((context.aggregated_metrics or {}).get("flying", {}).values())
    wanted = -(-flying // context.config.get_target_ongoing_requests())
    return int(wanted), {}


def lock(folder: Path, *, wait: bool = True) -> int | None:
    """Take a replica's folder, which stays taken until its process ends; None where another has it or it is gone."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _gauge(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), GAUGE_BYTES, access=mmap.ACCESS_READ)).cast("q")


def _keep_on(host: str) -> None:
    """Have Serve's own port of this replica, which carries nothing here, on one address: it would be open on all."""
    bind = internals.add_port_to_grpc_server
    internals.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", host))


def _require_model(folder: Path) -> None:
    """Raise where this user cannot read the model: the server, which may be root, can."""
    if not os.access(folder / "config.json", os.R_OK):
        user = pwd.getpwuid(os.getuid()).pw_name
        raise PermissionError(
            f"The model in {folder} cannot be read by user {user}, whom Ray runs as. Put it where that user can read "
            "it (say under /srv or /opt, folders 0755, files 0644)."
        )


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())
