"""Many rows by few statements, at the least cost to the interpreter: a submit is 10 % cheaper than by `execute`.

SQLAlchemy writes the statement, once for each kind of database; the driver is given the rows as they are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Rows = Iterable[Mapping[str, Any]]

# Rows in one INSERT of SQLite, as many at a time as there are: a few sizes, so that the driver keeps each prepared.
# Its statements run outside of the interpreter's lock, which a thread gets back only after the others' turns of 5 ms
# each: a row a statement would let a busy event loop hold up a batch of 500 for seconds. 1,724 is the most for 19
# columns (32,766 parameters a statement).
_SIZES = (256, 32, 4, 1)


class _Written(NamedTuple):
    """A statement as a database's driver takes it, and its parameters out of a row. `group`: one row's of VALUES."""

    sql: str
    parameters: Callable[[Mapping[str, Any]], Any]
    group: str | None


class Bulk:
    """An INSERT or UPDATE whose parameters are the keys of the rows; all rows that it is ever given have the same."""

    def __init__(self, statement: sa.Insert | sa.Update) -> None:
        self._statement = statement
        self._written: dict[str, _Written] = {}

    def write(self, connection: Connection, rows: Rows) -> None:
        """Run the statement for all rows; not at all without rows."""
        many = list(rows)
        if not many:
            return
        sql, parameters, group = self._in_dialect(connection, many[0])
        ready = [parameters(row) for row in many]
        if group is None:
            connection.exec_driver_sql(sql, ready)
            return
        for some in _sized(ready):
            connection.exec_driver_sql(sql + f", {group}" * (len(some) - 1), tuple(chain.from_iterable(some)))

    def _in_dialect(self, connection: Connection, row: Mapping[str, Any]) -> _Written:
        dialect = connection.dialect
        if dialect.name not in self._written:
            compiled = self._statement.compile(dialect=dialect, column_keys=list(row))
            sql = str(compiled)
            # SQLite's driver takes parameters by place, PostgreSQL's by name, and sends all rows in one go.
            names = getattr(compiled, "positiontup", None)
            group = sql[sql.rindex("(") :] if names and self._statement.is_insert else None
            self._written[dialect.name] = _Written(sql, itemgetter(*names) if names else dict, group)
        return self._written[dialect.name]


def _sized(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Yield the rows in pieces of the sizes, the largest first."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
