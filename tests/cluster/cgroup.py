"""Groups of processes: whatever a group's first process starts belongs to it, so that nothing is lost or mistaken.

For cgroup v1. All groups are below the caller's own, so that what they use stays accounted to the caller.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.command import wait_until

# Joins the groups named before `--`, then becomes the command after it.
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
_END_S = 30.0


@dataclass(frozen=True)
class Hierarchy:
    """One of cgroup v1: its mount options, and the folder in it below which groups are made."""

    options: str
    base: Path


def hierarchies(memberships: str, mounts: str) -> Iterator[Hierarchy]:
    """Read /proc/self/cgroup and /proc/self/mountinfo: where this process stands. None of cgroup v2 is told."""
    mounted = []
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup":
            mounted.append((set(options.split(",")), Path(left.split()[4])))
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        mount = next(
            (mount for options, mount in mounted if controllers and {*controllers.split(",")} <= options), None
        )
        if mount is not None:
            options = f"none,{controllers}" if controllers.startswith("name=") else controllers
            yield Hierarchy(options, mount / path.lstrip("/"))


def own_hierarchies() -> list[Hierarchy]:
    return list(hierarchies(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()))


@dataclass(frozen=True)
class Group:
    """A named group in every hierarchy. Equal to any other of the same name there; nothing is made before `start`."""

    name: str
    hierarchies: Sequence[Hierarchy]

    @property
    def folders(self) -> list[Path]:
        return [hierarchy.base / self.name for hierarchy in self.hierarchies]

    def child(self, name: str) -> "Group":
        return Group(f"{self.name}/{name}", self.hierarchies)

    def start(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon in it, which outlives us. Its output is appended to the log."""
        for hierarchy, folder in zip(self.hierarchies, self.folders, strict=True):
            _make(folder, hierarchy.base)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _JOIN, "sh", *self.folders, "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                check=True,
            )

    def processes(self) -> set[int]:
        """Return the processes of it and of all below."""
        found: set[int] = set()
        for folder in self.folders:
            for file in folder.rglob("cgroup.procs"):
                with suppress(OSError):  # the group ended meanwhile
                    found.update(map(int, file.read_text().split()))
        return found

    def end(self) -> None:
        """Kill all of it at once, as a power cut would, and remove it. May be repeated."""
        wait_until(self._ended, f"the end of {self.name}", within_s=_END_S)

    def _ended(self) -> bool:
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for folder in self.folders:
            for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                with suppress(OSError):
                    below.rmdir()
            with suppress(OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.folders)


def remember(group: Group, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([(each.options, str(each.base)) for each in group.hierarchies]))


def remembered(name: str, file: Path) -> Group:
    """Return the group of this name where `remember` noted it, since another caller may stand elsewhere.

    Where nothing is noted, or the note speaks of hierarchies that are gone, it is below the caller's own.
    """
    if file.exists():
        known = [Hierarchy(options, Path(base)) for options, base in json.loads(file.read_text())]
        if all(hierarchy.base.exists() for hierarchy in known):
            return Group(name, known)
    return Group(name, own_hierarchies())


def _make(folder: Path, base: Path) -> None:
    """Make it and its parents. A new group of `cpuset` may hold no process until it is told processors and memory."""
    if folder == base or folder.exists():
        return
    _make(folder.parent, base)
    folder.mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):
        if (folder / setting).exists():
            (folder / setting).write_text((folder.parent / setting).read_text())
