"""The database of a store, past the store."""

import sqlalchemy as sa

from raysvc.store.engine import parse
from raysvc.store.schema import metadata, version


def execute(url: str, *statements: str) -> None:
    """Run the statements in one transaction."""
    engine = sa.create_engine(parse(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def empty(url: str) -> None:
    """Take every row away, and leave the schema."""
    tables = (table.name for table in reversed(metadata.sorted_tables) if table is not version)
    execute(url, *(f"DELETE FROM {name}" for name in tables))  # noqa: S608 our own names
