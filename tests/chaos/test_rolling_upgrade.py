"""Version N, the kept wheel of 0.1.0, and N+1, today's code with one more migration, alive on one PostgreSQL.

N+1 starts beside N and expands the schema (nullable columns, a table) while N serves and leads; both take jobs in. N is
killed, N+1 goes on with all that N began, and a second N+1 takes N's place at its address. N itself would refuse to
start again: it knows nothing of the new schema.
"""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from raysvc.store.migration import OURS
from raysvc.store.schema import HEAD
from tests.chaos import evidence
from tests.chaos.check import check
from tests.chaos.evidence import Scene
from tests.chaos.process import START_S, ServerProcess
from tests.chaos.ray_head import RayHead
from tests.chaos.server import MIGRATIONS
from tests.chaos.workload import Workload

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SETTLE_S = 180.0
WHEEL = Path(__file__).parents[1] / "fixtures" / "raysvc-0.1.0-py3-none-any.whl"
NEXT = f"{int(HEAD) + 1:04}"
EXPAND = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    op.create_table("later", sa.Column("n", sa.Integer, primary_key=True))
    for table in ("job", "event", "package", "lease"):
        op.add_column(table, sa.Column("later_note", sa.Text))
"""


class OldServer(ServerProcess):
    """`raysvc up` of the wheel, from a folder it is unpacked into."""

    def __init__(self, wheel: Path, data_dir: Path, **settings: str) -> None:
        super().__init__(data_dir, **settings)
        self.variables = {"PYTHONPATH": str(wheel)}

    def command(self) -> list[str]:
        options = (f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items())
        return [sys.executable, "-P", "-m", "raysvc.cli", "up", *options]


def next_migrations(folder: Path) -> Path:
    shutil.copytree(OURS.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"v{NEXT}_later.py").write_text(EXPAND)
    return folder


def test_both_versions_serve_and_the_new_one_goes_on(database: str, ray: RayHead, tmp_path: Path) -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(tmp_path / "wheel")
    shared = {"database_url": database, **ray.settings}
    old = OldServer(tmp_path / "wheel", tmp_path / "old", **shared)
    # The data directory of a server of 0.1.0 is laid out as a shared one is.
    shared["shared_dir"] = str(tmp_path / "old")
    new, in_its_place = ServerProcess(tmp_path / "new", **shared), ServerProcess(tmp_path / "third", **shared)
    new.variables = in_its_place.variables = {MIGRATIONS: str(next_migrations(tmp_path / "migrations"))}
    try:
        old.start()
        old.wait_ready()
        new.start()
        new.until(lambda: new.role() == "standby", "stand by", START_S)
        work = Workload([old.wait_ready(), new.wait_ready()], tmp_path / "code", seed=2)
        work.start()
        try:
            old.works()
            assert new.role() == "standby"
            old.kill()
            new.takes_over()
            new.works()
            assert "newer raysvc" in old.refusal()
        finally:
            old.kill()
            in_its_place.settings["port"] = in_its_place.port = old.port
            in_its_place.start()
            in_its_place.wait_ready()
            work.stop()
        with new.client() as client:
            scene = Scene(database, tmp_path / "old" / "blobs", ray.folder)
            evidence.settle(scene, SETTLE_S)
            found = evidence.gather(scene, client)
    finally:
        for server in (old, new, in_its_place):
            server.end()
    history = found.model_copy(update={"plans": tuple(work.known.plans), "ops": tuple(work.known.ops)})
    assert check(history) == []
