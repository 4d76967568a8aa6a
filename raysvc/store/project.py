"""The Projects port."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.project import Project
from raysvc.errors import NotFound
from raysvc.store.reader import Reader
from raysvc.store.schema import project as table
from raysvc.store.upsert import upsert
from raysvc.store.writer import Writer

_GET = sa.select(table.c.body).where(table.c.name == sa.bindparam("name"))
_LIST = sa.select(table.c.body).order_by(table.c.name)


class SqlProjects:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, project: Project) -> None:
        row = {"name": project.name, "body": project.model_dump_json()}
        await self._writer.do_one(lambda connection: upsert(connection, table, row))

    async def get(self, name: str) -> Project:
        body = await self._reader.run(lambda connection: connection.scalar(_GET, {"name": name}))
        if body is None:
            raise NotFound(f"There is no project {name!r}.")
        return Project.model_validate_json(body)

    async def list(self) -> Sequence[Project]:
        return await self._reader.run(_all)


def _all(connection: Connection) -> Sequence[Project]:
    return [Project.model_validate_json(body) for body in connection.scalars(_LIST)]
