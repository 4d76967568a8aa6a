"""How a browser gets from the main origin to a cluster's dashboard, which has an origin of its own.

The main origin gives a ticket, good once and for half a minute; the dashboards' origin swaps it for a cookie that only
goes to that cluster's path. Both name the token by its hash, which opens nothing as a bearer, and are signed: so a
session outlives a restart, and ends with its token.
"""

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Literal

from raysvc.errors import Unauthenticated
from raysvc.ports import Clock, Ids

TICKET_AGE = timedelta(seconds=30)
SESSION_AGE = timedelta(hours=12)
Kind = Literal["ticket", "session"]


class Door:
    """Makes and checks tickets and sessions of one deployment."""

    def __init__(self, key: bytes, clock: Clock, ids: Ids) -> None:
        self._key = hashlib.sha256(b"raysvc dashboard\0" + key).digest()
        self._clock = clock
        self._ids = ids
        self._used: dict[str, datetime] = {}

    def ticket(self, cluster: str, token_hash: str) -> str:
        """Return a new ticket for the bearer of the token of this hash."""
        return self._sign("ticket", cluster, token_hash, TICKET_AGE)

    def swap(self, ticket: str, cluster: str) -> str:
        """Return the session for a ticket; raises Unauthenticated for one used, old, or of another cluster."""
        nonce, token_hash = self._check("ticket", ticket, cluster)
        now = self._clock.now()
        self._used = {used: until for used, until in self._used.items() if until > now}
        if nonce in self._used:
            raise Unauthenticated("This link was used before. Open the dashboard from the main page again.")
        self._used[nonce] = now + TICKET_AGE
        return self._sign("session", cluster, token_hash, SESSION_AGE)

    def token_hash(self, session: str, cluster: str) -> str:
        """Return the hash of the session's token; raises Unauthenticated."""
        return self._check("session", session, cluster)[1]

    def _sign(self, kind: Kind, cluster: str, token_hash: str, age: timedelta) -> str:
        until = int((self._clock.now() + age).timestamp())
        body = f"{self._ids.secret()[:16]}.{until}.{token_hash}"
        return f"{body}.{self._signature(kind, cluster, body)}"

    def _check(self, kind: Kind, text: str, cluster: str) -> tuple[str, str]:
        body, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(kind, cluster, body).encode()):
            raise Unauthenticated("This dashboard session is not known here. Open the dashboard from the main page.")
        nonce, until, token_hash = body.split(".")
        if self._clock.now().timestamp() >= int(until):
            raise Unauthenticated("This dashboard session is over. Open the dashboard from the main page again.")
        return nonce, token_hash

    def _signature(self, kind: Kind, cluster: str, body: str) -> str:
        return hmac.new(self._key, f"{kind}\0{cluster}\0{body}".encode(), hashlib.sha256).hexdigest()
