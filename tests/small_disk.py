"""Disks that are soon full, or fail: fixtures for whoever must not lose anything then."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB. Skips where mounting one is not allowed: the tests that fake one run everywhere."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk takes root and its capabilities")
    yield disk
    subprocess.run(["umount", disk], check=True)


class FailingDisk:
    """An ext4 of 96 MiB in a sparse file. `fail` does to it what the kernel does to a disk with errors: read-only."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "failing"
        self._image = folder / "failing.img"
        self.path.mkdir()
        self._image.touch()
        os.truncate(self._image, 96 << 20)

    def mount(self) -> bool:
        """Return whether that is possible here."""
        commands: tuple[tuple[str | Path, ...], ...] = (
            ("mkfs.ext4", "-q", "-F", self._image),
            ("mount", "-o", "loop", self._image, self.path),
        )
        if shutil.which("mkfs.ext4") is None:
            return False
        return all(subprocess.run(command, check=False, capture_output=True).returncode == 0 for command in commands)

    def fail(self) -> None:
        subprocess.run(["mount", "-o", "remount,abort", self.path], check=False, capture_output=True)
        with pytest.raises(OSError, match=r"Read-only|Input/output|Structure needs cleaning"):
            (self.path / "probe").write_bytes(b"x")

    def again(self) -> None:
        """As after a reboot: what reached the disk before it failed is there."""
        self.unmount()
        subprocess.run(["fsck.ext4", "-p", self._image], check=False, capture_output=True)
        subprocess.run(["mount", "-o", "loop", self._image, self.path], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True)


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[FailingDisk]:
    """A disk that can be made to fail. Skips where that is not allowed."""
    disk = FailingDisk(tmp_path)
    if os.geteuid() != 0 or not disk.mount():
        pytest.skip("mounting a disk takes root, its capabilities and a loop device")
    yield disk
    disk.unmount()
