"""Opening a database of any age: made, brought up to date, or refused; never half of that."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from raysvc.errors import DataDirError, RaysvcError
from raysvc.store import SqlStore
from raysvc.store.engine import parse
from raysvc.store.migration import OURS, Migrations
from raysvc.store.schema import HEAD, metadata
from raysvc.testing.clock import FakeClock
from tests.contract.store.database import execute
from tests.contract.store.make import added

NEXT = f"{int(HEAD) + 1:04}"
STEP = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    op.create_table("later", sa.Column("n", sa.Integer, primary_key=True))
    op.add_column("flag", sa.Column("note", sa.Text))
"""


def later(folder: Path, step: str = STEP) -> Migrations:
    """Return our migrations with one more step, as the next version of raysvc has them."""
    shutil.copytree(OURS.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"v{NEXT}_later.py").write_text(step)
    return Migrations(folder, NEXT)


async def reopen(url: str, migrations: Migrations = OURS) -> SqlStore:
    store = SqlStore(url, FakeClock(), migrations=migrations)
    await store.open()
    return store


def backups(folder: Path) -> list[Path]:
    return list(folder.glob("*.bak"))


def modes(folder: Path, pattern: str) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob(pattern)}


def schema_of(url: str) -> dict[str, object]:
    """Return all that the database knows of its tables, in words that can be compared."""
    engine = sa.create_engine(parse(url))
    inspector = sa.inspect(engine)
    found: dict[str, object] = {}
    for table in inspector.get_table_names():
        columns = [{**column, "type": str(column["type"])} for column in inspector.get_columns(table)]
        indexes = sorted(inspector.get_indexes(table), key=lambda index: str(index["name"]))
        found[table] = (
            columns,
            [{**index, "dialect_options": repr(_text(index))} for index in indexes],
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_unique_constraints(table),
        )
    engine.dispose()
    return found


def _text(index: object) -> object:
    options = dict(index).get("dialect_options", {})  # type: ignore[call-overload]
    return {name: str(value) for name, value in options.items()}


async def test_the_migrations_make_the_schema_that_the_code_speaks(blank: str) -> None:
    await (await reopen(blank, Migrations(OURS.folder, OURS.head))).close()
    migrated = schema_of(blank)
    engine = sa.create_engine(parse(blank))
    with engine.begin() as connection:
        metadata.drop_all(connection)
    engine.dispose()
    await (await reopen(blank)).close()
    assert schema_of(blank) == migrated
    assert "WHERE" in repr(migrated).upper()  # the indexes' conditions are part of what was compared


def test_the_last_step_is_head() -> None:
    names = sorted(path.name for path in (OURS.folder / "versions").glob("v*.py"))
    assert names[-1].startswith(f"v{HEAD}_")


@pytest.mark.parametrize("there", [True, False], ids=["up to date", "new"])
async def test_a_database_that_needs_no_step_opens_without_alembic(tmp_path: Path, *, there: bool) -> None:
    """Alembic costs 0.3 s of each start and 9 MB, PostgreSQL's dialect 2 MB more."""
    url = f"sqlite:///{tmp_path}/raysvc.db"
    if there:
        await (await reopen(url)).close()
    program = f"""
import asyncio, sys
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
async def main():
    store = SqlStore({url!r}, FakeClock())
    await store.open()
    loaded = [name for name in sys.modules if name.split(".")[0] in ("alembic", "mako") or "postgresql" in name]
    print(await store.flags.get("x"), loaded)
    await store.close()
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None []\n"


async def test_an_older_database_is_migrated_and_keeps_what_it_has(blank: str, tmp_path: Path) -> None:
    store = await reopen(blank)
    job = await added(store, "a")
    await store.flags.put("f", "v")
    await store.close()
    store = await reopen(blank, later(tmp_path / "later"))
    assert await store.jobs.get("default", "a") == job
    assert await store.flags.get("f") == "v"
    await store.close()
    assert "later" in schema_of(blank)


async def test_an_sqlite_file_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/raysvc.db"
    store = await reopen(url)
    job = await added(store, "a")
    await store.close()
    assert backups(tmp_path) == []
    await (await reopen(url, later(tmp_path / "later"))).close()
    backup = tmp_path / f"raysvc.db.schema-{HEAD}.20260101T000000Z.bak"
    assert backups(tmp_path) == [backup]
    restored = await reopen(f"sqlite:///{backup}")
    assert await restored.jobs.get("default", "a") == job
    await restored.close()


async def test_nobody_else_may_read_the_file_or_its_backup(tmp_path: Path) -> None:
    """It holds the hashes of tokens and what users wrote into their specs."""
    url = f"sqlite:///{tmp_path}/raysvc.db"
    await (await reopen(url)).close()
    store = await reopen(url, later(tmp_path / "later"))
    await store.flags.put("f", "v")
    assert set(modes(tmp_path, "raysvc.db*").values()) == {0o600}
    assert len(modes(tmp_path, "raysvc.db*")) == 4  # with its log, the log's index, and the backup
    await store.close()


async def test_a_newer_database_is_refused_and_left_alone(blank: str, tmp_path: Path) -> None:
    await (await reopen(blank, later(tmp_path / "later"))).close()
    before = schema_of(blank)
    with pytest.raises(DataDirError, match=rf"newer.*{NEXT}.*{HEAD}.*Install"):
        await reopen(blank)
    assert schema_of(blank) == before


async def test_a_migration_that_fails_changes_nothing(blank: str, tmp_path: Path) -> None:
    store = await reopen(blank)
    job = await added(store, "a")
    await store.close()
    before = schema_of(blank)
    broken = later(tmp_path / "broken", STEP + '    op.execute("DROP TABLE nowhere")\n')
    with pytest.raises(RaysvcError):
        await reopen(blank, broken)
    assert schema_of(blank) == before
    store = await reopen(blank)
    assert await store.jobs.get("default", "a") == job
    await store.close()


async def test_several_servers_may_open_one_new_database_at_once(blank: str) -> None:
    stores = await asyncio.gather(*(reopen(blank) for _ in range(4)))
    for number, store in enumerate(stores):
        await added(store, f"job-{number}")
        await store.close()


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["CREATE TABLE customer (n integer)"], "customer"),
        (["CREATE TABLE raysvc_version (version_num text)"], "None"),
        (
            ["CREATE TABLE raysvc_version (version_num text)", "INSERT INTO raysvc_version VALUES ('ae1027a6acf')"],
            "ae1027a6acf",
        ),
    ],
)
async def test_a_database_that_is_not_ours_is_refused_and_left_alone(
    blank: str, statements: list[str], said: str
) -> None:
    execute(blank, *statements)
    before = schema_of(blank)
    with pytest.raises(DataDirError, match=said):
        await reopen(blank)
    assert schema_of(blank) == before
