"""What an archive has, and how much of it is let in."""

from collections.abc import Iterator
from dataclasses import dataclass

from raysvc.errors import Invalid

CHUNK = 1 << 20


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may unpack to. The ratio (unpacked to packed) counts from `ratio_from` bytes on."""

    entries: int = 100_000
    size: int = 16 << 30
    ratio: int = 200
    ratio_from: int = 64 << 20


@dataclass(frozen=True)
class Entry:
    """One entry: its path, its st_mode, and its content (a symlink's target), to be read before the next entry."""

    name: str
    mode: int
    chunks: Iterator[bytes]


class Meter:
    """Counts entries and unpacked bytes, and refuses to go past the limits."""

    def __init__(self, package: str, packed: int, limits: ArchiveLimits) -> None:
        self._package = package
        self._packed = packed
        self.limits = limits
        self._entries = 0
        self._size = 0

    def entry(self) -> None:
        self._entries += 1
        if self._entries > self.limits.entries:
            raise Invalid(
                f"Package {self._package} has more than {self.limits.entries} entries. Leave out folders that the job "
                "does not need (`excludes` in runtime_env).",
                field="package",
            )

    def data(self, count: int) -> None:
        self._size += count
        if self._size > self.limits.size:
            raise Invalid(
                f"Package {self._package} unpacks to more than {self.limits.size / (1 << 30):g} GiB.", field="package"
            )
        if self._size > max(self.limits.ratio_from, self._packed * self.limits.ratio):
            raise Invalid(
                f"Package {self._package} unpacks to more than {self.limits.ratio} times its size, as decompression "
                "bombs do. Upload such data as it is, or read it from a bucket.",
                field="package",
            )
