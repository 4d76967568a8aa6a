"""Whom Ray and its jobs run as. A server of root's hands them to an unprivileged user, where this machine allows it.

What the user can reach is tried, not computed: access lists, file systems and container runtimes have their own rules.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raysvc.backends.local.area import Area, Owner
from raysvc.backends.local.config import LocalConfig
from raysvc.errors import Invalid, Unavailable

# In this order, where the operator names nobody.
USERS = ("raysvc", "nobody")
# For work areas outside a data directory that the jobs' user may not enter.
OUTSIDE = Path("/var/lib/raysvc")
_TRY = "import pathlib, sys; open(sys.argv[1]).close(); pathlib.Path(sys.argv[2], '.tried').touch()"
_TRY_SECONDS = 30
_INIT = Path(__file__).with_name("init.py")


@dataclass(frozen=True)
class Confinement:
    """The work area, the jobs' user (None: the server's own), what is exposed to it, what the operator must know."""

    area: Area
    user: str | None = None
    expose: tuple[Path, ...] = ()
    warning: str | None = None

    def wrap(self) -> list[str]:
        """Return the beginning of a command line that runs what follows it so confined."""
        user = ["--user", self.user] if self.user else []
        return [sys.executable, "-I", str(_INIT), *user, *(f"--expose={path}" for path in self.expose)]


def confine(config: LocalConfig) -> Confinement:
    """Choose whom jobs run as, and make the work area. Blocks for some 0.1 s where the server is root.

    Raises Unavailable where Ray is not installed, Invalid for a job_user that cannot be.
    """
    inside = config.data_dir / "work"
    if os.geteuid() != 0:
        if config.job_user and _user(config.job_user).pw_uid != os.geteuid():
            raise Invalid(f"Only a server of root's can run jobs as {config.job_user!r}.", field="job_user")
        return _unconfined(inside, None)
    user = _user(config.job_user)
    if user.pw_uid == 0:
        return _unconfined(inside, "Jobs run as root, as asked: each of them can read and change all of this machine.")
    for attempt in _attempts(inside, user):
        attempt.area.prepare()
        if not (obstacle := _obstacle(attempt)):
            _settle(inside, attempt.area.root)
            return attempt
    return _unconfined(
        inside,
        f"Jobs run as root: user {user.pw_name} cannot use Python at {sys.prefix} ({obstacle}), and mount namespaces "
        "do not help here. Install raysvc where every user can read it (say /opt), or start it as another user.",
    )


def ray_package() -> Path:
    """Return the file of the package `ray`, found without importing it; raises Unavailable."""
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:
        raise Unavailable("Ray is not installed here: run pip install 'raysvc[ray]', or give --ray-address.")
    return Path(found.origin)


def _unconfined(root: Path, warning: str | None) -> Confinement:
    area = Area(root.resolve())
    area.prepare()
    return Confinement(area, warning=warning)


def _user(name: str | None) -> pwd.struct_passwd:
    for candidate in (name,) if name else USERS:
        try:
            return pwd.getpwnam(candidate)
        except KeyError:
            continue
    raise Invalid(f"There is no user {name or ' or '.join(USERS)} here to run jobs as.", field="job_user")


def _attempts(inside: Path, user: pwd.struct_passwd) -> Iterator[Confinement]:
    """Yield what to try, the best first: the area within the data directory, plainly or exposed; then outside it."""
    owner = Owner(user.pw_uid, user.pw_gid)
    root = inside.resolve()
    plain = Confinement(Area(root, owner), user.pw_name)
    yield plain
    prefixes = dict.fromkeys((root, Path(sys.prefix), Path(sys.base_prefix), ray_package().parent.parent))
    yield Confinement(plain.area, user.pw_name, tuple(path for path in prefixes if path.is_dir()))
    if not _used(root):
        digest = hashlib.sha256(bytes(inside)).hexdigest()[:12]
        yield Confinement(Area(OUTSIDE / digest, owner), user.pw_name)


def _used(root: Path) -> bool:
    """Tell whether jobs have left something in an area: then it stays where it is."""
    return any(Area(root).jobs.glob("*"))


def _settle(inside: Path, root: Path) -> None:
    """Let a link in the data directory say where the work area is, so that it is found there again."""
    if inside.resolve() != root:
        shutil.rmtree(inside)
        inside.symlink_to(root)


def _obstacle(confinement: Confinement) -> str:
    """Return what keeps the user from starting this Python, reading Ray, and writing to its scratch folder, or ''."""
    command = [sys.executable, "-I", "-c", _TRY, str(ray_package()), str(confinement.area.scratch)]
    try:
        tried = subprocess.run(  # noqa: S603 our own script
            [*confinement.wrap(), "--", *command],
            env={},
            capture_output=True,
            check=False,
            text=True,
            timeout=_TRY_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Python did not start within {_TRY_SECONDS} s: the machine is too busy.") from error
    *_, last = tried.stderr.strip().splitlines() or [f"exit {tried.returncode}"]
    return last if tried.returncode else ""
