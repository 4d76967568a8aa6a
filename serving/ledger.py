"""What each key may still do, in one replica. Plain numbers: no I/O, no clock of its own.

A request bucket holds a minute's worth, so a burst of `requests_per_minute` passes and then that many a minute. What a
request costs in tokens is known only when it has ended, so a token bucket may fall below zero, and the next request
waits until it is above. Before a budget's end, the requests in flight are taken to cost what earlier ones did.
"""

import math

INFINITE = math.inf


class Refusal(Exception):
    """Why a request is turned away: an HTTP status, the code and text of OpenAI's error, and when to come back."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Bucket:
    """`rate` a minute, at most a minute's worth, but one at least: a share of a limit may be less than one a minute.

    `level` may be below zero.
    """

    __slots__ = ("at", "level", "most", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.most = max(rate, 1.0)
        self.level = self.most
        self.at = now

    def fill(self, now: float) -> float:
        """Return the level at that moment (seconds of any clock that never goes back)."""
        level = self.level + (now - self.at) * self.rate / 60.0
        self.level = level = level if level < self.most else self.most  # noqa: FURB136 min() takes twice as long
        self.at = now
        return level

    def wait(self, level: float) -> float:
        """Return in how many seconds it will hold that much."""
        return (level - self.level) * 60.0 / self.rate if self.rate > 0 else 60.0

    def limit(self, rate: float, now: float) -> None:
        """Change the rate; what was used of it stays used."""
        used = self.most - self.fill(now)
        self.rate = rate
        self.most = max(rate, 1.0)
        self.level = self.most - used


class Account:
    """One key. `allowance` is the budget as a bound on `spent`, which only grows; None: no budget."""

    __slots__ = ("allowance", "expires_at", "flying", "id", "mean", "requests", "spent", "tokens")

    def __init__(self, key: str) -> None:
        self.id = key
        self.expires_at = INFINITE
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.allowance: int | None = None
        self.spent = 0
        self.flying = 0
        self.mean = 0.0

    def admit(self, now: float, wall: float) -> None:
        """Count a request in; raises Refusal. `now` is of a clock that never goes back, `wall` seconds since 1970."""
        if wall >= self.expires_at:
            raise Refusal(401, "invalid_api_key", "This API key has expired. Ask for a new one.")
        if (left := self.allowance) is not None and left - self.spent - self.flying * self.mean <= 0:
            raise Refusal(429, "insufficient_quota", "The token budget of this API key is used up.", 60.0)
        if (tokens := self.tokens) is not None and tokens.fill(now) <= 0:
            raise Refusal(429, "rate_limit_exceeded", self._too_many("tokens", tokens), tokens.wait(0.0))
        if (requests := self.requests) is not None:
            if requests.fill(now) < 1.0:
                raise Refusal(429, "rate_limit_exceeded", self._too_many("requests", requests), requests.wait(1.0))
            requests.level -= 1.0
        self.flying += 1

    def settle(self, tokens: int) -> None:
        """Count a request out, and what it cost."""
        self.flying -= 1
        self.spent += tokens
        # A fifth: the last few requests say most about the next ones.
        self.mean += (tokens - self.mean) / 5.0
        if self.tokens is not None:
            self.tokens.level -= tokens

    @staticmethod
    def _too_many(what: str, bucket: Bucket) -> str:
        return f"This API key may use {bucket.rate:g} {what} a minute here, and has."


class Accounts:
    """All keys by the SHA-256 (hex) of their secrets. A key that stays keeps what it has used."""

    def __init__(self) -> None:
        self.by_digest: dict[str, Account] = {}
        self._by_id: dict[str, Account] = {}

    def replace(self, keys: list[dict[str, object]], now: float) -> None:
        """Make these all the keys there are."""
        known, self._by_id, self.by_digest = self._by_id, {}, {}
        for grant in keys:
            name = str(grant["id"])
            account = known.get(name) or Account(name)
            expires, allowance = grant.get("expires_at"), grant.get("allowance")
            account.expires_at = INFINITE if expires is None else float(expires)  # type: ignore[arg-type]
            account.allowance = None if allowance is None else int(allowance)  # type: ignore[call-overload]
            account.requests = _bucket(account.requests, grant.get("requests_per_minute"), now)
            account.tokens = _bucket(account.tokens, grant.get("tokens_per_minute"), now)
            self._by_id[name] = self.by_digest[str(grant["digest"])] = account


def _bucket(bucket: Bucket | None, rate: object, now: float) -> Bucket | None:
    if rate is None:
        return None
    number = float(rate)  # type: ignore[arg-type]
    if bucket is None:
        return Bucket(number, now)
    if bucket.rate != number:
        bucket.limit(number, now)
    return bucket
