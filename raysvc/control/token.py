"""Bearer tokens: made once, shown once, kept as a hash."""

import hashlib
from datetime import datetime, timedelta

from raysvc.domain.access import Principal
from raysvc.domain.project import Role, Token
from raysvc.errors import Unauthenticated
from raysvc.ports import Clock, Ids, Tokens

# A revocation by another process takes effect within this time.
FRESH = timedelta(seconds=3)
PREFIX = "raysvc_"


def hash_secret(secret: str) -> str:
    """Return the SHA-256 (hex) of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Gate:
    """Issues tokens and tells who a bearer is."""

    def __init__(self, tokens: Tokens, clock: Clock, ids: Ids) -> None:
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._known: dict[str, tuple[datetime, Token]] = {}

    async def issue(
        self, role: Role, *, owner: str, projects: tuple[str, ...] = (), expires_at: datetime | None = None
    ) -> tuple[Token, str]:
        """Make a token and return it with its secret, which is never seen again."""
        secret = PREFIX + self._ids.secret()
        now = self._clock.now()
        token = Token(
            id=self._ids.uid(now), role=role, projects=projects, owner=owner, created_at=now, expires_at=expires_at
        )
        await self._tokens.add(token, hash_secret(secret))
        return token, secret

    async def adopt(self, secret: str, role: Role, *, owner: str) -> None:
        """Make sure that this secret (the first admin token, from its file) opens everything. May be repeated."""
        if await self._tokens.by_hash(hash_secret(secret)) is None:
            now = self._clock.now()
            token = Token(id=self._ids.uid(now), role=role, owner=owner, created_at=now)
            await self._tokens.add(token, hash_secret(secret))

    async def authenticate(self, secret: str, *, browser: bool = False) -> Principal:
        """Return who bears this token; raises Unauthenticated where it is unknown, expired or revoked."""
        return await self.recognise(hash_secret(secret), browser=browser)

    async def recognise(self, digest: str, *, browser: bool = False) -> Principal:
        """Return who bears the token of this hash, which a browser session carries; raises like `authenticate`."""
        now = self._clock.now()
        known = self._known.get(digest)
        if known is None or abs(now - known[0]) > FRESH:
            token = await self._tokens.by_hash(digest)
            if token is None:
                self._known.pop(digest, None)
                raise Unauthenticated("This token is not known here. Check RAYSVC_TOKEN or RAY_AUTH_TOKEN.")
            known = (now, token)
            self._known[digest] = known
        token = known[1]
        if token.revoked_at is not None:
            raise Unauthenticated(f"Token {token.id} was revoked. Ask an admin for a new one.")
        if token.expires_at is not None and now >= token.expires_at:
            raise Unauthenticated(f"Token {token.id} expired at {token.expires_at:%Y-%m-%d %H:%M} UTC.")
        return Principal(name=token.owner, role=token.role, projects=token.projects, token_id=token.id, browser=browser)

    async def revoke(self, token_id: str) -> None:
        """End a token now; raises NotFound. May be repeated."""
        await self._tokens.revoke(token_id, self._clock.now())
        self._known.clear()
