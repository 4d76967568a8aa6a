"""Queries: a few threads, each with a connection of its own, that never wait for the writer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from raysvc.errors import Damaged, Unavailable
from raysvc.store.damage import Damage
from raysvc.store.engine import READERS
from raysvc.store.fault import gone, translate

T = TypeVar("T")

_UNREADABLE = (
    "A record in the database cannot be read: it is damaged, or a newer raysvc wrote it. Where no newer one did, make "
    "a backup and try it: `raysvc restore FILE --data-dir NEW --dry-run` names the record."
)


class Reader:
    """Runs queries. What was committed before a query began is seen by it."""

    def __init__(self, engine: Engine, damage: Damage) -> None:
        self._engine = engine
        self._damage = damage
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="raysvc-store-reader")
        self._open = False

    def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        """Wait for the queries on their way. May be repeated."""
        self._open = False
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def run(self, query: Callable[[Connection], T]) -> T:
        """Return what the query returns; raises what it raises, a database's errors in our words."""
        if not self._open:
            raise Unavailable("The store is closed: the server is starting or stopping. Try again in a moment.")
        self._damage.refuse()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)
        except Damaged as error:
            self._damage.note(error)
            raise

    def _run(self, query: Callable[[Connection], T]) -> T:
        try:
            try:
                return self._once(query)
            except DBAPIError as error:
                if not gone(error):
                    raise
                return self._once(query)  # on a new connection: a query may be repeated
        except SQLAlchemyError as error:
            raise translate(error) from error
        except ValidationError as error:
            raise Unavailable(_UNREADABLE) from error

    def _once(self, query: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return query(connection)
