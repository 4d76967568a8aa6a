"""Inference keys: as a project's admins manage them, and as replicas are given them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from raysvc.control.quota import Leases
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.key import Key, NewKey
from raysvc.domain.replica import KeyGrant
from raysvc.domain.text import check_line
from raysvc.errors import Invalid, Unauthenticated
from raysvc.ports import Clock, Ids, Keys, Ledger, Projects

PREFIX = "rsk-"
# What another server changed is known within this time; with a replica's call every second or two, in less than 5 s.
_FRESH = timedelta(seconds=2)
# A service whose replicas have not asked for longer has none.
_SERVING = timedelta(seconds=30)
# Grants that are kept for a project: as services scale, their numbers make ever new ones.
_MOST_MADE = 64
# How often a table is read again because something was kept meanwhile.
_READS = 3


def hash_key(secret: str) -> str:
    """Return the SHA-256 (hex) of a key. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class _Budgeted(NamedTuple):
    """A key with a budget: its grant but for the lease, and how many replicas share it."""

    grant: KeyGrant
    tokens: int
    sharers: int


class _Grants(NamedTuple):
    """What each replica of a service is granted, as long as neither keys nor numbers of replicas change."""

    plain: tuple[KeyGrant, ...]
    budgeted: tuple[_Budgeted, ...]
    digest: str


@dataclass
class _Table:
    """A project's keys as they were read, and what those with a budget have used.

    `made` holds grants by (service, how many replicas each service has).
    """

    read_at: datetime
    keys: Sequence[tuple[Key, str]]
    spent: Mapping[str, int]
    made: dict[tuple[str, frozenset[tuple[str, int]]], _Grants] = field(default_factory=dict)


class KeyDesk:
    """A project's viewers see its keys, its admins make and revoke them. Replicas get those that open their service."""

    def __init__(self, keys: Keys, ledger: Ledger, projects: Projects, clock: Clock, ids: Ids) -> None:
        self._keys = keys
        self._ledger = ledger
        self._projects = projects
        self._clock = clock
        self._ids = ids
        self._tables: dict[str, _Table] = {}
        self._changes: Counter[str] = Counter()
        self._serving: dict[str, dict[str, tuple[int, datetime]]] = {}
        self._leases = Leases()

    async def find(self, principal: Principal, project: str) -> Sequence[Key]:
        """Return the project's keys, oldest first, without their secrets. Raises NotFound."""
        access.authorise(principal, Verb.READ, Resource.KEY, project)
        await self._projects.get(project)
        return [key for key, _ in await self._keys.find(project)]

    async def create(
        self, principal: Principal, project: str, new: NewKey, *, dry_run: bool = False
    ) -> tuple[Key, str | None]:
        """Make a key and return it with its secret, never seen again (None in a dry run). Raises NotFound, Invalid."""
        access.authorise(principal, Verb.MANAGE, Resource.KEY, project)
        await self._projects.get(project)
        now = self._clock.now()
        check_line(new.name, "name")
        if new.expires_at is not None and new.expires_at <= now:
            raise Invalid("expires_at is in the past; leave it out for a key without an end.", field="expires_at")
        key = Key(
            **dict(new),
            id="dry-run" if dry_run else self._ids.uid(now),
            project=project,
            owner=principal.name,
            created_at=now,
        )
        if dry_run:
            return key, None
        secret = PREFIX + self._ids.secret()
        await self._keys.add(key, hash_key(secret))
        self._stale(project)
        return key, secret

    async def revoke(self, principal: Principal, project: str, key_id: str, *, dry_run: bool = False) -> Key:
        """End a key: within 5 s no replica takes it any more. May be repeated. Raises NotFound."""
        access.authorise(principal, Verb.MANAGE, Resource.KEY, project)
        now = self._clock.now()
        if dry_run:
            found = next((key for key, _ in await self._keys.find(project) if key.id == key_id), None)
            if found is not None:
                return found if found.revoked_at else found.model_copy(update={"revoked_at": now})
        key = await self._keys.revoke(project, key_id, now, principal.name)
        self._stale(project)
        self._leases.forget(key_id)
        return key

    async def recognise(self, secret: str) -> Key | None:
        """Return the inference key of this secret, None for one of another kind.

        Raises Unauthenticated where it is unknown, revoked or has expired.
        """
        if not secret.startswith(PREFIX):
            return None
        key = await self._keys.by_digest(hash_key(secret))
        if key is None:
            raise Unauthenticated("This inference key is not known here.")
        if key.revoked_at is not None:
            raise Unauthenticated(f"Inference key {key.id} was revoked.")
        if key.expires_at is not None and self._clock.now() >= key.expires_at:
            raise Unauthenticated(f"Inference key {key.id} expired at {key.expires_at:%Y-%m-%d %H:%M} UTC.")
        return key

    async def grants(
        self, project: str, service: str, replicas: int, *, replica: str
    ) -> tuple[str, tuple[KeyGrant, ...]]:
        """Return the keys that open a service, with this replica's share of their limits, and the version of that.

        `replicas` is how many the service has. A key that opens several services is shared by the replicas of all.
        `tokens_left` counts what is in the ledger by now and nothing else: a replica takes off what it has not been
        acknowledged yet. Costs a look at the store every 2 s, and for each report of tokens of a key with a budget.
        """
        now = self._clock.now()
        serving = self._serving.setdefault(project, {})
        serving[service] = (max(1, replicas), now)
        counts = frozenset((name, count) for name, (count, at) in serving.items() if now - at <= _SERVING)
        table = await self._table(project, now)
        if (service, counts) not in table.made:
            if len(table.made) >= _MOST_MADE:
                table.made.clear()
            table.made[service, counts] = _made(table.keys, service, dict(counts))
        grants = table.made[service, counts]
        if not grants.budgeted:
            return grants.digest, grants.plain
        holder = f"{service}/{replica}"
        self._leases.hear(holder, now)
        leased, words = [], [grants.digest]
        for grant, tokens, sharers in grants.budgeted:
            spent = table.spent.get(grant.id, 0)
            left = self._leases.lease(grant.id, holder, left=tokens - spent, sharers=sharers)
            leased.append(KeyGrant.model_construct(**{**grant.__dict__, "tokens_left": left}))
            words.append(f"{spent} {left}")
        return _digest(words), (*grants.plain, *leased)

    def charge(self, project: str, service: str, replica: str, tokens: Mapping[str, int]) -> None:
        """Note tokens by key that are in the ledger now and were not before."""
        for key, amount in tokens.items():
            self._leases.charge(key, f"{service}/{replica}", amount)
        table = self._tables.get(project)
        budgeted = {key.id for key, _ in table.keys if key.budget_tokens is not None} if table else set()
        if budgeted & tokens.keys():
            self._stale(project)

    async def _table(self, project: str, now: datetime) -> _Table:
        known = self._tables.get(project)
        if known is not None and abs(now - known.read_at) <= _FRESH:
            return known
        for reads_left in reversed(range(_READS)):
            changes = self._changes[project]
            keys = [each for each in await self._keys.find(project) if _granted(each[0], now)]
            budgeted = any(key.budget_tokens is not None for key, _ in keys)
            spent = await self._ledger.spent(project) if budgeted else {}
            table = _Table(now, keys, spent, known.made if known is not None and known.keys == keys else {})
            if self._changes[project] == changes:
                self._tables[project] = table
                return table
            if not reads_left:  # something is kept all the time: what was read is right but for the last of it
                return table
        raise AssertionError

    def _stale(self, project: str) -> None:
        self._changes[project] += 1
        self._tables.pop(project, None)


def _granted(key: Key, now: datetime) -> bool:
    """Say whether replicas know the key. One that has expired they know for a day, so that they can say so."""
    return key.revoked_at is None and (key.expires_at is None or now - key.expires_at <= timedelta(days=1))


def _made(keys: Sequence[tuple[Key, str]], service: str, counts: Mapping[str, int]) -> _Grants:
    """Return what one replica of the service is granted, before leases."""
    plain, budgeted, words = [], [], []
    for key, digest in keys:
        if not key.opens(service):
            continue
        sharers = sum(count for name, count in counts.items() if key.opens(name))
        grant = KeyGrant(
            id=key.id,
            digest=digest,
            expires_at=key.expires_at,
            requests_per_minute=_share(key.requests_per_minute, sharers),
            tokens_per_minute=_share(key.tokens_per_minute, sharers),
        )
        words.append(f"{key.id} {sharers}")
        if key.budget_tokens is None:
            plain.append(grant)
        else:
            budgeted.append(_Budgeted(grant, key.budget_tokens, sharers))
    return _Grants(tuple(plain), tuple(budgeted), _digest(words))


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _share(limit: float | None, sharers: int) -> float | None:
    return None if limit is None else limit / sharers
