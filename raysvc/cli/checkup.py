"""What `raysvc doctor` looks at. Each check looks, changes nothing, and says what to do about what it finds."""

import contextlib
import importlib.metadata
import os
import resource
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

import psutil

from raysvc.client.client import Client
from raysvc.client.wire import Call, body_of
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.model import Model
from raysvc.errors import NotFound, RaysvcError, Unavailable
from raysvc.settings import default_data_dir
from raysvc.version import __version__

GIB = 1 << 30
_SHM = "/dev/shm"  # noqa: S108 looked at, not written to
# Ray 2.60 is what the local backend is tested with; its client works from 2.40 on.
_RAY = "2.60."
# A head with its dashboard takes about 1 GiB, a training job about as much again.
_LEAST_MEMORY = 2 * GIB
# Packages, logs and checkpoints of a few small jobs.
_LEAST_DISK = 5 * GIB
# Ray puts its object store there: 30 % of the memory, or it falls back to the disk and is slow.
_LEAST_SHM = GIB
# Each worker of Ray takes some 60; the dashboard and the API a few hundred.
_LEAST_FILES = 4096
# Tokens and retries bear this much, seconds.
_MOST_SKEW_S = 30.0
_DEFAULT_PORT = 8500


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Model):
    """One line of the checkup. `fix` is what to do; empty where nothing is wrong."""

    subject: str
    state: State
    detail: str
    fix: str = ""


def checkup() -> Iterator[Finding]:
    """Yield the findings, one check after the other."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _ray, _data_dir, _memory, _shm, _files, _server)
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield _ok("Python", f"{version}, raysvc {__version__}")
    else:
        yield _fail("Python", version, "Use Python 3.11, 3.12 or 3.13.")


def _ray() -> Iterator[Finding]:
    install = "pip install 'raysvc[ray]'"
    ray = _version("ray")
    if ray is None:
        yield _warn("Ray", "not installed", f"To run jobs on this machine: {install}. A client needs none.")
    elif not ray.startswith(_RAY):
        yield _warn("Ray", ray, f"raysvc's own local Ray is {_RAY}x: {install}")
    else:
        yield _ok("Ray", ray)
    torch = _version("torch")
    if torch is None:
        yield _warn("PyTorch", "not installed", f"To train the programs of raysvc, such as the demo: {install}")
    else:
        yield _ok("PyTorch", torch)


def _data_dir() -> Iterator[Finding]:
    path = default_data_dir()
    there = path.exists()
    if there:
        found = path.stat()
        if found.st_uid != os.geteuid():
            yield _fail("Data directory", f"{path} belongs to uid {found.st_uid}", "Name another in RAYSVC_DATA_DIR.")
            return
        if stat.S_IMODE(found.st_mode) & 0o077:
            yield _fail("Data directory", f"{path} is open to others", f"chmod 700 {path}")
            return
    free = shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free
    detail = f"{path}{'' if there else ' (made by the first `raysvc up`)'}, {free / GIB:.1f} GiB free"
    if free < _LEAST_DISK:
        yield _warn("Data directory", detail, f"Free some space: jobs need some {_LEAST_DISK // GIB} GiB.")
    else:
        yield _ok("Data directory", detail)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} GiB free of {memory.total / GIB:.1f}, {os.cpu_count()} cores"
    if memory.available < _LEAST_MEMORY:
        yield _warn("Memory", detail, f"Ray and a small job need {_LEAST_MEMORY // GIB} GiB: end some programs.")
    else:
        yield _ok("Memory", detail)


def _shm() -> Iterator[Finding]:
    path = Path(_SHM)
    if not path.is_dir():
        return  # not Linux: Ray uses the disk there
    free = shutil.disk_usage(path).free
    if free < _LEAST_SHM:
        fix = "In a container, start it with --shm-size=2g or more; else: mount -o remount,size=2g /dev/shm"
        yield _warn(_SHM, f"{free / GIB:.1f} GiB free", fix)
    else:
        yield _ok(_SHM, f"{free / GIB:.1f} GiB free")


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _LEAST_FILES:
        yield _warn("Open files", f"at most {soft} (hard limit {hard})", f"ulimit -n {_LEAST_FILES}, or more")
    else:
        yield _ok("Open files", f"at most {soft}")


def _server() -> Iterator[Finding]:
    named = "RAYSVC_URL" in os.environ
    try:
        client = Client(warn=lambda _: None)
    except Unavailable as error:
        yield (_fail if named else _warn)("Server", error.message, "raysvc up")
        yield from _port()
        return
    with client:
        try:
            yield from _clock(client)
        except RaysvcError as error:
            yield _fail("Server", error.message, "Start it with `raysvc up`, or mend RAYSVC_URL.")
            return
        yield from _token(client)


def _clock(client: Client) -> Iterator[Finding]:
    response = client.wire.send(Call("GET", "/healthz"))
    yield _ok("Server", client.server.url)
    with contextlib.suppress(RaysvcError):  # an older server does not say
        if body_of(client.wire.send(Call("GET", "/readyz")), "role") == "standby":
            yield _ok("Role", "stands by: it takes jobs in, and another server on its database runs them")
    with contextlib.suppress(KeyError, ValueError):
        skew = parsedate_to_datetime(response.headers["date"]).timestamp() - time.time()
        if abs(skew) > _MOST_SKEW_S:
            yield _warn("Clock", f"{abs(skew):.0f} s from the server's", "Set both by NTP: `timedatectl set-ntp true`.")
        else:
            yield _ok("Clock", "agrees with the server's")


def _token(client: Client) -> Iterator[Finding]:
    try:
        who = client.whoami()
        scope = ", ".join(who.projects) or "every project"
        yield _ok("Token", f"{who.name}, {who.role} of {scope}")
    except RaysvcError as error:
        yield _fail("Token", error.message, "Set RAYSVC_TOKEN to a token that `raysvc token create` made.")
        return
    try:
        client.projects.get(client.project)
        yield _ok("Project", client.project)
    except NotFound as error:
        yield _fail("Project", error.message, f"Mend RAYSVC_PROJECT, or: raysvc project create {client.project}")
    for cluster in client.clusters.list():
        detail = f"{cluster.name}: {cluster.phase}, Ray {cluster.ray_version or '(not known yet)'}"
        why = f"{cluster.reason.title}. {cluster.reason.message}" if cluster.reason else "Look at the server's log."
        if cluster.phase is ClusterPhase.READY:
            yield _ok("Cluster", detail)
        elif cluster.phase in {ClusterPhase.PENDING, ClusterPhase.STARTING}:
            yield _warn("Cluster", detail, "Wait: jobs are queued until it is ready.")
        else:
            yield _fail("Cluster", detail, why)


def _port() -> Iterator[Finding]:
    """Where no server of ours runs, its usual port should be free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _DEFAULT_PORT))
        except OSError as error:
            detail = f"{_DEFAULT_PORT} is taken ({error.strerror})"
            yield _warn("Port", detail, "raysvc up --port 0 takes a free one; or find the other: `ss -ltnp`.")
        else:
            yield _ok("Port", f"{_DEFAULT_PORT} is free")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ok(subject: str, detail: str) -> Finding:
    return Finding(subject=subject, state=State.OK, detail=detail)


def _warn(subject: str, detail: str, fix: str) -> Finding:
    return Finding(subject=subject, state=State.WARN, detail=detail, fix=fix)


def _fail(subject: str, detail: str, fix: str) -> Finding:
    return Finding(subject=subject, state=State.FAIL, detail=detail, fix=fix)
