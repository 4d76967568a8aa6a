"""Inference keys: what an OpenAI client sends, which services it opens, how much it may use; and what was used."""

from datetime import date
from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import Instant, Model, Name

# Beyond any model's speed, and exact as a float and in 63 bits.
_MOST_TOKENS = 10**15
_MOST_A_MINUTE = 1e12


class NewKey(Model):
    """A key to make. No `services`: every one of the project, also those to come. None: no limit."""

    name: str = Field(default="", max_length=128, description="what it is for, in your words")
    services: tuple[Name, ...] = Field(default=(), max_length=100)
    requests_per_minute: float | None = Field(default=None, gt=0, le=_MOST_A_MINUTE)
    tokens_per_minute: float | None = Field(default=None, gt=0, le=_MOST_A_MINUTE, description="prompt and completion")
    budget_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS, description="in all, prompt and completion")
    expires_at: Instant | None = None


class Key(NewKey):
    """An inference key's public half: the secret half is kept only as a SHA-256."""

    id: str
    project: Name
    owner: str = Field(description="who made it")
    created_at: Instant
    revoked_at: Instant | None = None
    revoked_by: str | None = None

    def opens(self, service: str) -> bool:
        return not self.services or service in self.services


class UsageBy(StrEnum):
    KEY = "key"
    SERVICE = "service"
    DAY = "day"


class UsageTotal(Model):
    """What was used of one thing: a key, a service or a day (UTC), as `of` says which."""

    of: str = Field(description="id of the key, name of the service, or the day")
    requests: int
    failed: int = Field(description="of the requests, those answered with a status of 400 or more")
    prompt_tokens: int
    completion_tokens: int
    estimated_tokens: int = Field(description="of the tokens, those settled from a lease: their report was lost")


class UsagePeriod(Model):
    """Days, UTC, both included. None: from the first, to the last."""

    since: date | None = None
    until: date | None = None


class IssuedKey(Model):
    """A new key. `secret` is shown this once; null in a dry run."""

    key: Key
    secret: str | None = Field(repr=False)
