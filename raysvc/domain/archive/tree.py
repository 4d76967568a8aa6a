"""The paths of an archive: which are refused, and where its links lead. Lexical, since nothing is unpacked."""

import re
import stat

from raysvc.errors import Invalid

_DRIVE = re.compile(r"[A-Za-z]:")
# As Linux has it (path_resolution(7)): beyond, a chain of links is a loop.
_MAX_LINKS = 40
# PATH_MAX of Linux, and what the names of all entries may take in memory.
_MAX_PATH = 4096
_MAX_NAMES = 32 << 20


def entry_path(raw: str) -> str:
    """Return the path without `.` and empty parts."""
    return "/".join(part for part in raw.split("/") if part not in {"", "."})


class Tree:
    """Takes the entries of one archive one by one; `check` at the end looks at them together."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._names = 0
        self._kinds: dict[str, int] = {}
        self._links: dict[str, str] = {}

    def refusal(self, entry: str, why: str) -> Invalid:
        shown = f"{entry[:200]}…" if len(entry) > 200 else entry  # noqa: PLR2004 characters; enough to recognise it
        return Invalid(f"Package {self._package}: the entry {shown!r} {why}.", field="package")

    def add(self, raw: str, kind: int, target: str | None = None, *, hard: bool = False) -> str:
        """Return the entry's path; raise Invalid where it is unsafe or there twice. `kind` is its S_IFMT."""
        path = self._path(raw)
        if not path:
            raise self.refusal(raw, "has no name")
        if kind not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            raise self.refusal(raw, "is not a file, folder or symlink")
        self._names += len(path)
        if len(path) > _MAX_PATH or self._names > _MAX_NAMES:
            raise self.refusal(raw, f"has too long a path ({_MAX_PATH} characters), or all of them are ({_MAX_NAMES})")
        if path in self._kinds:
            raise self.refusal(raw, "is there twice")
        if hard:
            to = self._path(target or "")
            if self._kinds.get(to) != stat.S_IFREG:
                raise self.refusal(raw, f"is a hard link to {to!r}, which is no file before it in the archive")
        elif target is not None:
            if target.startswith("/") or "\\" in target or "\0" in target or _DRIVE.match(target):
                raise self.refusal(raw, f"is a symlink to {target[:200]!r}, out of the package")
            self._links[path] = target
        self._kinds[path] = kind
        return path

    def check(self) -> None:
        """Raise Invalid where an entry lies below something that is no folder, or a symlink leads out."""
        folders: set[str] = set()
        for path in self._kinds:
            above = path.rpartition("/")[0]
            while above and above not in folders:
                if self._kinds.get(above, stat.S_IFDIR) != stat.S_IFDIR:
                    raise self.refusal(path, f"lies below {above!r}, which is not a folder")
                folders.add(above)
                above = above.rpartition("/")[0]
        for path, target in self._links.items():
            if self._leads_out(path):
                raise self.refusal(path, f"is a symlink to {target[:200]!r}, which climbs out of the package")

    def _path(self, raw: str) -> str:
        if "\0" in raw:
            raise self.refusal(raw, "has a NUL byte in its name")
        if raw.startswith("/") or _DRIVE.match(raw):
            raise self.refusal(raw, "has an absolute path")
        if "\\" in raw:
            raise self.refusal(raw, "has a backslash in its name, a folder separator elsewhere")
        if ".." in raw.split("/"):
            raise self.refusal(raw, "climbs out by '..'")
        return entry_path(raw)

    def _leads_out(self, link: str) -> bool:
        """Follow a symlink as a kernel would, through the other links of the archive."""
        here = link.split("/")[:-1]
        ahead = self._links[link].split("/")[::-1]
        followed = 0
        while ahead:
            part = ahead.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                if not here:
                    return True
                here.pop()
                continue
            here.append(part)
            target = self._links.get("/".join(here))
            if target is not None:
                followed += 1
                if followed > _MAX_LINKS:
                    return True
                here.pop()
                ahead += target.split("/")[::-1]
        return False
