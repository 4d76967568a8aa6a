"""A Ray head as processes: started, found again after our own death, and ended without a trace."""

import importlib.util
import json
import os
import secrets
import site
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from raysvc.backends.local.config import LocalConfig
from raysvc.backends.local.confine import Confinement, ray_package
from raysvc.errors import Unavailable

# Our mark in the environment of every process below a head.
MARK = "RAYSVC_HEAD"
# `ray start` leaves its client server (ray://) out only where grpc is missing. Nothing here uses it, and it costs
# 1.5 s of a start of 5.5 s (2 cores), 90 MB and a port; so `ray start` is told that grpc is missing.
_RAY = "import ray.scripts.scripts as s; s.get_ray_client_dependency_error = lambda: ImportError(); s.main()"
# Of AF_UNIX's 107 bytes, Ray's longest socket takes 66: session_2026-01-31_23-59-59_123456_1234567/sockets/dash_….
MAX_BASE = 36
# What a job may see of the environment raysvc was started in: no token, no cloud key, nothing of ours.
_PASSED = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_END_S = 12.0
_LOG_LINES = 15


@dataclass(frozen=True)
class HeadState:
    """What a later server must know of a head: kept in a file, written before the head is started."""

    id: str
    port: int
    root: str
    base: str
    user: str | None
    warning: str | None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class HeadFiles:
    """The server's own files about its head; jobs cannot read them."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "local"
        self.state = self.folder / "head.json"
        self.log = self.folder / "head.log"

    def read(self) -> HeadState | None:
        """Return the last head's state; None where there was none, or where its file cannot be read."""
        try:
            return HeadState(**json.loads(self.state.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: HeadState) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.state.with_suffix(".new")
        draft.write_text(json.dumps(asdict(state)))
        draft.replace(self.state)

    def instance(self) -> str:
        """Return the word, made once, that tells this directory's jobs from others' on the same Ray."""
        file = self.folder / "instance"
        if not file.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.folder / f".instance.{secrets.token_hex(8)}"
            draft.write_text(secrets.token_hex(8))
            # Where several servers share the directory, the first one's is everybody's.
            with suppress(FileExistsError):
                os.link(draft, file)
            draft.unlink()
        return file.read_text()

    def log_tail(self) -> str:
        """Return the last lines that the head's start wrote."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(line for line in lines[-_LOG_LINES:] if line.strip())


def start(config: LocalConfig, files: HeadFiles, confinement: Confinement, port: int) -> HeadState:
    """Start a head on that dashboard port; returns before it answers. Blocks for some 0.1 s. Raises Unavailable."""
    ray_package()
    area = confinement.area
    area.clear()
    area.write_token(secrets.token_hex(32))
    state = HeadState(
        id=secrets.token_hex(8),
        port=port,
        root=str(area.root),
        base=str(short_path(area.root)),
        user=confinement.user,
        warning=confinement.warning,
    )
    files.write(state)
    command = [
        *confinement.wrap(),
        *("--id", state.id, "--detach", str(files.log), "--"),
        *(sys.executable, "-P", "-c", _RAY, *_arguments(config, state)),
    ]
    environment = _environment(config, confinement, state)
    begun = subprocess.run(  # noqa: S603 our own script
        command, env=environment, cwd=area.home, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True
    )
    if begun.returncode != 0:
        raise Unavailable(f"Ray's head could not be started: {begun.stderr.strip()[-500:]}")
    return state


def first_process(state: HeadState) -> psutil.Process | None:
    """Return the head's first process (`init.py`) while it lives. Its id stands in its command line."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if state.id in line and "--id" in line and alive(process):
                return process
    return None


def alive(process: psutil.Process) -> bool:
    """Tell whether it is still that process, and more than an entry that its parent has yet to collect."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(state: HeadState) -> None:
    """End a head and everything below it, gracefully for the first seconds; returns when nothing is left. Blocks.

    May be repeated. Raises Unavailable where something cannot be ended.
    """
    first = first_process(state)
    if first is not None:
        with suppress(psutil.NoSuchProcess):
            first.terminate()
        psutil.wait_procs([first], timeout=_END_S)
    # What its first process left, having been killed itself.
    for _ in range(3):
        if not (left := _leftovers(state)):
            break
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_END_S)
    else:
        raise Unavailable(f"Processes {[process.pid for process in left]} of an old Ray head do not end.")
    if (link := Path(state.base)).is_symlink():
        link.unlink(missing_ok=True)


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def short_path(folder: Path) -> Path:
    """Return the folder, or where its path is too long for Ray's sockets, a new link to it under /tmp.

    Nobody can take the link's place: its name is random, symlink() never replaces, and in /tmp (sticky) only its owner
    can remove it.
    """
    if len(bytes(folder)) <= MAX_BASE:
        return folder
    link = Path("/tmp") / f"raysvc-{secrets.token_hex(6)}"  # noqa: S108 see above
    link.symlink_to(folder)
    return link


def _leftovers(state: HeadState) -> list[psutil.Process]:
    """Return the living processes of a head whose first process is gone, and all below them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if alive(process) and (process.environ().get(MARK) == state.id or _is_rays(process, state)):
                found |= {below.pid: below for below in (process, *process.children(recursive=True))}
    return list(found.values())


def _is_rays(process: psutil.Process, state: HeadState) -> bool:
    """Tell whether it is one of Ray's own, at work in this head's area.

    They write their titles (say, ray::DashboardAgent) over their environment, so our mark in it is gone.
    """
    titled = " ".join(process.cmdline()).startswith(("ray::", "ray-"))
    return titled and Path(process.cwd()).is_relative_to(state.root)


def _arguments(config: LocalConfig, state: HeadState) -> list[str]:
    """Return the arguments of `ray start`. Port 0: whichever is free when the part starts, so that none can clash."""
    options: Mapping[str, object] = {
        "port": 0,
        "node-manager-port": 0,
        "object-manager-port": 0,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "dashboard-agent-listen-port": 0,
        "dashboard-agent-grpc-port": 0,
        "runtime-env-agent-port": 0,
        "metrics-export-port": 0,
        "include-dashboard": "true",
        "dashboard-host": "127.0.0.1",
        "dashboard-port": state.port,
        "object-store-memory": config.object_store,
        "temp-dir": f"{state.base}/ray",
    }
    cpus = [f"--num-cpus={config.num_cpus}"] if config.num_cpus else []
    return [
        *("start", "--head", "--block", "--disable-usage-stats"),
        *(f"--{name}={value}" for name, value in options.items()),
        *cpus,
    ]


def _environment(config: LocalConfig, confinement: Confinement, state: HeadState) -> dict[str, str]:
    area = confinement.area
    user = confinement.user or psutil.Process().username()
    here = str(Path(sys.executable).parent)
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    direct = ",".join(filter(None, (passed.get("no_proxy") or passed.get("NO_PROXY"), "127.0.0.1,localhost")))
    return {
        "LANG": "C.UTF-8",
        **passed,
        # Ray's gRPC honours http_proxy, for its own parts too.
        "no_proxy": direct,
        "NO_PROXY": direct,
        **_python_environment(confinement),
        "PATH": os.pathsep.join(dict.fromkeys((here, *os.environ.get("PATH", os.defpath).split(os.pathsep)))),
        "HOME": str(area.home),
        "USER": user,
        "LOGNAME": user,
        "TMPDIR": str(Path(state.base) / confinement.area.scratch.name),
        MARK: state.id,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(area.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # As on macOS: Ray takes 127.0.0.1 for its address, and all its parts listen there and nowhere else. (Given
        # --node-ip-address=127.0.0.1 it looks for the machine's own address instead.)
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "DASHBOARD_METRIC_PORT": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": str(config.stop_grace_s),
    }


def _python_environment(confinement: Confinement) -> dict[str, str]:
    """Return what lets the jobs' user run this Python as fast as its owner does."""
    package = ray_package()
    variables = {}
    if package.is_relative_to(site.getuserbase()):
        variables["PYTHONUSERBASE"] = site.getuserbase()
    # Installers such as uv compile nothing, and this user may not write beside the sources: without a place of its own
    # each process would compile Ray anew.
    if confinement.user and not Path(importlib.util.cache_from_source(str(package))).exists():
        variables["PYTHONPYCACHEPREFIX"] = str(confinement.area.home / ".cache" / "pycache")
    return variables
