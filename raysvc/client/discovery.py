"""Which server to talk to, with which token, about which project.

`RAYSVC_URL`, `RAYSVC_TOKEN` and `RAYSVC_PROJECT` say so. Only where `RAYSVC_URL` is unset is it the server of the
default data directory, and only after a look at who listens there: the admin token must not go to a stranger who took
the port of a server that died.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from raysvc.errors import Unavailable
from raysvc.settings import default_data_dir, is_loopback

DEFAULT_PROJECT = "default"
# psutil derives a process's start from the boot time, which moves a little when the clock is set.
_CLOCK_SLACK_S = 5.0
_START = "Start one with `raysvc up`, or set RAYSVC_URL (and RAYSVC_TOKEN) to one that runs elsewhere."


@dataclass(frozen=True)
class Server:
    """Where the API answers (no slash at the end), and the token that opens it; None: none is known."""

    url: str
    token: str | None = field(default=None, repr=False)

    def base_of(self, project: str) -> str:
        """Return the address under which Ray's own API of a project answers."""
        return f"{self.url}/p/{project}"


def find_server(env: Mapping[str, str] = os.environ) -> Server:
    """Return the server that the environment names, or the one of the default data directory.

    Raises Unavailable, saying what to do, where no server of ours runs.
    """
    token = env.get("RAYSVC_TOKEN") or None
    url = env.get("RAYSVC_URL")
    if url:
        return Server(_checked(url), token)
    return local_server(default_data_dir(), token)


def project_of(env: Mapping[str, str] = os.environ) -> str:
    """Return the project that the environment names, or the default one."""
    return env.get("RAYSVC_PROJECT") or DEFAULT_PROJECT


def local_server(data_dir: Path, token: str | None = None) -> Server:
    """Return the server that serves from a data directory on this machine; with no token given, its admin token.

    Raises Unavailable where none does, or where what is there is not ours.
    """
    path = data_dir / "server.json"
    try:
        found = path.stat()
        said = json.loads(path.read_text())
        url, pid = _checked(str(said["url"])), int(said["pid"])
    except FileNotFoundError as error:
        raise Unavailable(f"No raysvc server runs here: there is no {path}. {_START}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{path} cannot be read: {error}. Remove it, and start the server again.") from error
    _check_file(path, found)
    _check_process(path, pid, url, found.st_mtime)
    return Server(url, token or _admin_token(data_dir / "admin-token"))


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unavailable(f"{url!r} is not the URL of a server. RAYSVC_URL looks like http://127.0.0.1:8500.")
    return url.rstrip("/")


def _check_file(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Unavailable(
            f"{path} belongs to another user (uid {found.st_uid}), so it is not trusted with a token. "
            "Set RAYSVC_URL and RAYSVC_TOKEN to use that server."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unavailable(f"{path} can be written by others, so it is not trusted with a token. `chmod 600 {path}`.")


def _check_process(path: Path, pid: int, url: str, written_at: float) -> None:
    try:
        process = psutil.Process(pid)
        owner, started = process.uids().effective, process.create_time()
        listens = urlsplit(url).port in _listening(process)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, ValueError) as error:
        raise Unavailable(f"{path} is left over: its server (pid {pid}) has ended. {_START}") from error
    except psutil.AccessDenied as error:
        raise Unavailable(f"{path} is left over: pid {pid} is another user's process now. {_START}") from error
    if owner != os.geteuid():
        raise Unavailable(f"{path} is left over: pid {pid} is another user's process now. {_START}")
    if listens:
        return
    # Behind an ingress the URL's port is not the process's own: then its age has to do.
    if is_loopback(urlsplit(url).hostname or "") or started > written_at + _CLOCK_SLACK_S:
        raise Unavailable(
            f"{path} is left over: pid {pid} does not serve {url}, so the token is not sent there. {_START}"
        )


def _listening(process: psutil.Process) -> set[int]:
    connections = process.net_connections(kind="tcp")
    return {place.laddr.port for place in connections if place.status == psutil.CONN_LISTEN}


def _admin_token(path: Path) -> str:
    try:
        found = path.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise Unavailable(
                f"{path} can be read by others, so it is not used. `chmod 600 {path}`, or make new tokens."
            )
        return path.read_text().strip()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}. Set RAYSVC_TOKEN instead.") from error
