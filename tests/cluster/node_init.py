"""The first process of a node: `python -m tests.cluster.node_init SETTINGS`, in namespaces of its own.

It mounts what a machine has, gives containerd the images, starts all services, and restarts what dies.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.command import run, say, succeeds, wait_until
from tests.cluster.image_store import seed

_START_S = 60.0
_PAUSE_S = 1.0
_CGROUPS = Path("/sys/fs/cgroup")


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text())
    socket.sethostname(settings["hostname"])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.environ["PATH"] = f"{settings['path']}:/usr/sbin:/usr/bin:/sbin:/bin"
    _mount(settings)
    seed(Path(settings["image_store"]), Path(settings["containerd_root"]))
    services = Services(settings["hostname"], Path(settings["logs"]))
    services.start("containerd", settings["runtime"])
    # It answers before it serves the kubelet, which then is started again.
    wait_until(lambda: succeeds("ctr", "version"), "containerd", within_s=_START_S)
    for name, command in settings["services"].items():
        services.start(name, command)
    say("started")
    services.keep()


def _mount(settings: Mapping[str, Any]) -> None:
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    run("mount", "-t", "tmpfs", "cgroup", _CGROUPS)
    for options in settings["cgroups"]:
        at = _CGROUPS / options.removeprefix("none,name=")
        at.mkdir()
        run("mount", "-t", "cgroup", "-o", options, "cgroup", at)
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for folder in ("/run/containerd", "/run/lock"):
        Path(folder).mkdir()
    for folder, at in {**settings["mounts"], **settings["sysctls"]}.items():
        if Path(folder).is_dir():
            Path(at).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", folder, at)
    run("mount", "--make-rshared", "/")


class Services:
    """Programs that must run for as long as the node does."""

    def __init__(self, node: str, logs: Path) -> None:
        self._node = node
        self._logs = logs
        self._running: dict[int, tuple[str, Sequence[str]]] = {}

    def start(self, name: str, command: Sequence[str]) -> None:
        log = self._logs / f"{self._node}-{name}.log"
        # Not subprocess.Popen: each start of one may reap those that ended meanwhile, and `keep` would not hear of it.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        self._running[pid] = name, command

    def keep(self) -> None:
        """Wait for whatever ends, orphans of containers too, and start services again. Does not return."""
        while True:
            pid, status = os.wait()
            if ended := self._running.pop(pid, None):
                name, command = ended
                say(f"{name} ended ({os.waitstatus_to_exitcode(status)}): again")
                time.sleep(_PAUSE_S)
                self.start(name, command)


if __name__ == "__main__":
    main(sys.argv[1])
