"""The Packages port: which uploads there are, and until when each is kept though no live job names it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.project import Package
from raysvc.errors import Conflict, NotFound
from raysvc.store.instant import micros
from raysvc.store.reader import Reader
from raysvc.store.schema import package as table
from raysvc.store.schema import package_ref
from raysvc.store.writer import Writer

_NAMED = sa.exists().where(package_ref.c.project == table.c.project, package_ref.c.name == table.c.name)


class SqlPackages:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, package: Package) -> Package:
        return await self._writer.do_one(lambda connection: _add(connection, package))

    async def get(self, project: str, name: str) -> Package:
        body = await self._reader.run(lambda connection: connection.scalar(_one(project, name)))
        if body is None:
            raise _not_found(project, name)
        return Package.model_validate_json(body)

    async def pin(self, project: str, name: str, until: datetime) -> Package:
        """Keep it until then at least: a pin that is longer already stays. Raises NotFound."""
        return await self._writer.do_one(lambda connection: _pin(connection, project, name, until))

    async def find(self, project: str) -> Sequence[Package]:
        query = sa.select(table.c.body).where(table.c.project == project)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return sorted(map(Package.model_validate_json, bodies), key=lambda package: package.name)

    async def remove_unreferenced(self, now: datetime, limit: int) -> Sequence[Package]:
        return await self._writer.do_one(lambda connection: _remove(connection, micros(now), limit))


def _one(project: str, name: str) -> sa.Select[Any]:
    return sa.select(table.c.body).where(table.c.project == project, table.c.name == name)


def _add(connection: Connection, package: Package) -> Package:
    body = connection.scalar(_one(package.project, package.name).with_for_update())
    if body is None:
        row = {"project": package.project, "name": package.name, "pinned_until": micros(package.pinned_until)}
        connection.execute(sa.insert(table).values(row | {"body": package.model_dump_json()}))
        return package
    first = Package.model_validate_json(body)
    if first.digest != package.digest:
        raise Conflict(
            f"Project {package.project!r} already has a package {package.name!r} with other contents. "
            "Give this one another name.",
            field="name",
        )
    return _pinned(connection, first, package.pinned_until)


def _pin(connection: Connection, project: str, name: str, until: datetime) -> Package:
    body = connection.scalar(_one(project, name).with_for_update())
    if body is None:
        raise _not_found(project, name)
    return _pinned(connection, Package.model_validate_json(body), until)


def _pinned(connection: Connection, package: Package, until: datetime) -> Package:
    if until <= package.pinned_until:
        return package
    package = package.model_copy(update={"pinned_until": until})
    connection.execute(
        sa.update(table)
        .where(table.c.project == package.project, table.c.name == package.name)
        .values(pinned_until=micros(until), body=package.model_dump_json())
    )
    return package


def _remove(connection: Connection, now: int, limit: int) -> Sequence[Package]:
    # One that a job of another process begins to name meanwhile is locked by it (and left for later), or the reference
    # comes first and the foreign key refuses the delete: then this runs again and sees it.
    over = (
        sa.select(table.c.project, table.c.name, table.c.body)
        .where(table.c.pinned_until <= now, ~_NAMED)
        .order_by(table.c.pinned_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(over).all()
    if rows:
        this = (table.c.project == sa.bindparam("b_project"), table.c.name == sa.bindparam("b_name"))
        gone = [{"b_project": row.project, "b_name": row.name} for row in rows]
        connection.execute(sa.delete(table).where(*this), gone)
    return [Package.model_validate_json(row.body) for row in rows]


def _not_found(project: str, name: str) -> NotFound:
    return NotFound(f"Project {project!r} has no package {name!r}. Upload it again.")
