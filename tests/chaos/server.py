"""`raysvc up` with failpoints: `python -m tests.chaos.server SETTINGS`, which are JSON.

The platform is the one that `raysvc up` serves; here its parts are wrapped. What is done now and then is done often,
so that a short run sees it: the sweep, and collecting packages that nobody names.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy.engine.default import DefaultDialect

from raysvc.backends.rayjob.api import RayApi
from raysvc.bootstrap import serve
from raysvc.bootstrap.log import configure
from raysvc.bootstrap.process import run
from raysvc.control import housekeeping, shelf
from raysvc.control.platform import Parts
from raysvc.ports import Backend, Blobs
from raysvc.settings import Settings
from raysvc.store import SqlStore
from raysvc.store.migration import Migrations
from tests.chaos.failpoint import VARIABLE, Points, Tapped

# The folder of migrations of a version to come, where the server is to be one.
MIGRATIONS = "RAYSVC_CHAOS_MIGRATIONS"
SWEEP_S = 2.0
PIN = timedelta(seconds=15)

DRIVER = frozenset({"apply", "observe", "stop", "delete"})
BLOBS = frozenset({"put", "append", "delete"})
# What is sent to Ray within one `apply` or `delete` of the driver.
RAY = ("submit", "put_package", "stop", "delete")
# Every point there is: each is named twice, as it is before the effect and after.
POINTS = tuple(
    f"{name}.{when}"
    for name in (
        "commit",
        *(f"jobs.{verb}" for verb in sorted(DRIVER)),
        *(f"ray.{verb}" for verb in RAY),
        *(f"blobs.{verb}" for verb in sorted(BLOBS)),
        "artifacts.delete",
    )
    for when in ("before", "after")
)


class _Backend(Tapped):
    """A backend whose drivers are tapped."""

    def __init__(self, backend: Backend, points: Points) -> None:
        super().__init__(backend, points, "backend", frozenset())
        self.jobs = Tapped(backend.jobs, points, "jobs", DRIVER)
        self.artifacts = Tapped(backend.artifacts, points, "artifacts", frozenset({"delete"}))


def alter(points: Points) -> Callable[[Parts], Parts]:
    """Return what wraps the parts of a platform."""

    def wrap(parts: Parts) -> Parts:
        return replace(
            parts,
            backend=cast("Backend", _Backend(parts.backend, points)),
            blobs=cast("Blobs", Tapped(parts.blobs, points, "blobs", BLOBS)),
        )

    return wrap


def tap_libraries(points: Points) -> None:
    """Put points round each commit of the store and each request to Ray that changes something."""
    commit: Callable[[Any, Any], None] = DefaultDialect.do_commit

    def do_commit(dialect: Any, connection: Any) -> None:
        points.reach("commit.before")
        commit(dialect, connection)
        points.reach("commit.after")

    setattr(DefaultDialect, "do_commit", do_commit)  # noqa: B010 mypy knows that a method is not to be assigned
    for verb in RAY:
        setattr(RayApi, verb, points.around(f"ray.{verb}", getattr(RayApi, verb)))


def come_from_the_future(folder: Path) -> None:
    """Have the store bring its database to the schema of those migrations, and take no other."""
    head = max(path.name[1:5] for path in (folder / "versions").glob("v*.py"))
    SqlStore.__init__.__kwdefaults__ = {"migrations": Migrations(folder, head)}


def main(said: str) -> None:
    settings = Settings.model_validate_json(said)
    points = Points(os.environ.get(VARIABLE, ""), settings.data_dir.with_name("points"))
    tap_libraries(points)
    signal.signal(signal.SIGUSR1, lambda *_: points.stop_at("commit.before"))
    if MIGRATIONS in os.environ:
        come_from_the_future(Path(os.environ[MIGRATIONS]))
    housekeeping.EVERY_S = SWEEP_S
    shelf.PIN = PIN
    configure(human=False)
    run(serve(settings, lambda _: None, alter(points)))


if __name__ == "__main__":
    main(*sys.argv[1:])
