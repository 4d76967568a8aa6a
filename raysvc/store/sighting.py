"""The Sightings port."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.replica import Sighting
from raysvc.store.instant import micros
from raysvc.store.reader import Reader
from raysvc.store.schema import replica, service
from raysvc.store.upsert import upsert
from raysvc.store.writer import Writer


class SqlSightings:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, sightings: Sequence[Sighting]) -> None:
        rows = [
            {"uid": it.service, "replica": it.replica, "at": micros(it.at), "body": it.model_dump_json()}
            for it in sightings
        ]
        uids = {it.service for it in sightings}

        def write(connection: Connection) -> None:
            there = set(connection.scalars(sa.select(service.c.uid).where(service.c.uid.in_(uids))))
            for row in rows:
                if row["uid"] in there:
                    upsert(connection, replica, row)

        if rows:
            await self._writer.do_one(write)

    async def since(self, at: datetime) -> Sequence[Sighting]:
        query = sa.select(replica.c.body).where(replica.c.at >= micros(at)).order_by(replica.c.uid, replica.c.replica)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return [Sighting.model_validate_json(body) for body in bodies]

    async def forget(self, before: datetime) -> None:
        await self._writer.execute(sa.delete(replica).where(replica.c.at < micros(before)))
