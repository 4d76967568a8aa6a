"""Runs Alembic from here, inside a transaction of ours: no command line and no alembic.ini."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection


def upgrade(connection: Connection, folder: Path, revision: str = "head") -> None:
    """Make all steps of the folder up to `revision` that the database has not made yet; the caller commits."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, revision)
