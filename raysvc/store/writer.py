"""Group commit: whatever waits is written in one transaction, and everyone who waits shares its fsync.

    caller ── do(work, ask) ──► waiting ──► one thread: BEGIN, each kind of work once over all its asks, COMMIT
       ▲                                                                                               │
       └──────────────────── the outcome, only after the COMMIT that covers it ◄───────────────────────┘

While one transaction is on its way to the disk, the next one gathers, so that a batch is as large as the load makes it:
one commit of 2 ms carries one submit of a quiet day and hundreds of a busy one. All operations of a batch are in flight
at once, so any order among them is a right one; they are grouped by kind, and each kind is a handful of statements.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.dml import UpdateBase

from raysvc.errors import RaysvcError, Unavailable
from raysvc.store.damage import Damage
from raysvc.store.fault import gone, of_one, passing, translate, unusable

Ask = TypeVar("Ask")
T = TypeVar("T")

# Asks in one transaction: about 40 ms of it, so that a burst does not hold up the first of those behind it.
_BATCH = 512
# How often one operation is tried again after it lost a race against another process of ours on the same database.
_RACES = 3

Work = Callable[[Connection, Sequence[Ask]], Sequence[T | RaysvcError]]
"""One kind of operation, over all its asks of a batch: an outcome for each, in order. It may run again after a failure.

A refusal is an outcome, not an exception, and writes nothing: an exception fails the transaction.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Operation:
    """Asks of one kind that came together; `done` has the outcome of each."""

    work: Work[Any, Any]
    asks: Sequence[Any]
    done: asyncio.Future[list[Any]]


class Writer:
    """The one that writes. Belongs to the event loop that opened it."""

    def __init__(self, engine: Engine, damage: Damage) -> None:
        self._engine = engine
        self._damage = damage
        self._connection: Connection | None = None
        self._committing = False
        self._waiting: list[_Operation] = []
        self._filled = asyncio.Event()
        self._open = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raysvc-store-writer")
        self._drain: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._open = True
        self._drain = asyncio.get_running_loop().create_task(self._run(), name="raysvc-store-writer")

    async def close(self) -> None:
        """Commit what was accepted so far, refuse the rest. May be repeated."""
        self._open = False
        self._filled.set()
        if self._drain is not None:
            await self._drain
        await asyncio.to_thread(self._shut)

    async def do(self, work: Work[Ask, T], ask: Ask) -> T:
        """Return the outcome once it is on disk, or raise it. A caller that is cancelled may still have been served."""
        (outcome,) = await self.do_each(work, [ask])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def do_each(self, work: Work[Ask, T], asks: Sequence[Ask]) -> list[T | Exception]:
        """Return the outcome of each, in order, once all are on disk; what `do` would raise is an outcome here."""
        if not self._open:
            raise Unavailable("The store is closed: the server is starting or stopping. Try again in a moment.")
        self._damage.refuse()
        if not asks:
            return []
        done: asyncio.Future[list[T | Exception]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Operation(work, asks, done))
        self._filled.set()
        return await done

    async def do_one(self, one: Callable[[Connection], T]) -> T:
        """Like `do`, for what is too rare to be grouped. `one` may raise a RaysvcError before it writes anything."""
        return await self.do(_each, one)

    async def execute(self, statement: UpdateBase) -> int:
        """Return how many rows the statement touched, once that is on disk."""
        return await self.do_one(lambda connection: connection.execute(statement).rowcount)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open or self._waiting:
            if not self._waiting:
                self._filled.clear()
                await self._filled.wait()
                continue
            batch = self._next()
            outcomes = await loop.run_in_executor(self._thread, self._commit, batch)
            for operation, told in zip(batch, outcomes, strict=True):
                for outcome in told:
                    if isinstance(outcome, Exception):
                        self._damage.note(outcome)
                if not operation.done.done():  # its caller is still there
                    operation.done.set_result(told)
            # Let those just served come back first with their next operation, so that it joins this batch.
            await asyncio.sleep(0)

    def _next(self) -> list[_Operation]:
        """Take those whose turn it is, of _BATCH asks or a few more."""
        asks = accumulate(len(operation.asks) for operation in self._waiting)
        count = next((place for place, sum_ in enumerate(asks, start=1) if sum_ >= _BATCH), len(self._waiting))
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _shut(self) -> None:
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def _commit(self, batch: Sequence[_Operation]) -> list[list[Any]]:
        """Return the outcomes of one transaction over the batch; where one ask spoils it, of a transaction for each."""
        idle = self._connection is not None
        try:
            return self._transact(batch)
        except Exception as error:  # noqa: BLE001 whatever it is, it is the outcome
            if unusable(error):
                self._disconnect()
            if idle and gone(error) and not self._committing:
                return self._commit(batch)  # the connection died since the last batch, and nothing was kept
            if of_one(error):
                return [[self._commit_alone(operation, ask) for ask in operation.asks] for operation in batch]
            return [[translate(error) for _ in operation.asks] for operation in batch]

    def _commit_alone(self, operation: _Operation, ask: Any) -> Any:
        for tries_left in reversed(range(_RACES)):
            try:
                return self._transact([replace(operation, asks=[ask])])[0][0]
            except Exception as error:  # noqa: BLE001 whatever it is, it is the outcome
                if unusable(error):
                    self._disconnect()
                if not (tries_left and passing(error)):
                    return translate(error)
        raise AssertionError

    def _transact(self, batch: Sequence[_Operation]) -> list[list[Any]]:
        kinds: dict[Work[Any, Any], list[Any]] = {}
        for operation in batch:
            kinds.setdefault(operation.work, []).extend(operation.asks)
        self._committing = False
        with self._connect().begin():
            outcomes = {work: iter(work(self._connect(), asks)) for work, asks in kinds.items()}
            self._committing = True
        return [[next(outcomes[operation.work]) for _ in operation.asks] for operation in batch]

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        """Let go of the connection; the next transaction makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _each(connection: Connection, ones: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    outcomes: list[Any] = []
    for one in ones:
        try:
            outcomes.append(one(connection))
        except RaysvcError as refusal:
            outcomes.append(refusal)
    return outcomes
