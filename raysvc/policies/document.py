"""The format of a policy file, as pydantic models: `PolicyDocument.model_json_schema()` is its JSON Schema."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from raysvc.domain.model import Model

# Stands in headers, events and metrics.
RuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Scalar = str | bool | int | float | None


class OnError(StrEnum):
    """What happens where a rule cannot be evaluated or a webhook not be asked."""

    CLOSED = "closed"
    OPEN = "open"


class RuleDocument(Model):
    name: RuleName
    when: str | bool = Field(default=True, description="CEL; true: the rule applies")
    deny: Literal[True] | None = None
    warn: Literal[True] | None = None
    changes: dict[str, Scalar] | None = Field(
        default=None,
        alias="set",
        min_length=1,
        description="dotted field of a job -> CEL expression (text) or a plain number, boolean or null",
    )
    message: str | None = Field(default=None, min_length=1, max_length=2000, description="text with {CEL} in braces")
    on_error: OnError | None = Field(default=None, description="left out: closed, and open for a rule that warns")

    @model_validator(mode="after")
    def _one_effect(self) -> "RuleDocument":
        effects = [self.deny, self.warn, self.changes]
        if sum(effect is not None for effect in effects) != 1:
            raise ValueError("give exactly one of `deny: true`, `warn: true` and `set: {…}`")
        if self.message is None and self.changes is None:
            raise ValueError("needs a `message`: the text that the submitter reads")
        return self


class WebhookDocument(Model):
    name: RuleName
    url: str
    secret_file: Path = Field(description="file with the HMAC key; relative to the policy file")
    timeout_s: float = Field(default=2, gt=0, le=30, description="for all of it: resolving, connecting, the reply")
    on_error: OnError = OnError.CLOSED
    allow_private: bool = False
    ca_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _callable(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an https:// address")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a user or password; the webhook knows us by our signature")
        return url

    @model_validator(mode="after")
    def _secure(self) -> "WebhookDocument":
        if urlsplit(self.url).scheme == "http" and not self.allow_private:
            raise ValueError("plain http:// is for private networks: use https://, or set `allow_private: true`")
        return self


class PolicyDocument(Model):
    policy: RuleName
    description: str = ""
    mode: Literal["enforce", "warn"] = "enforce"
    rules: tuple[RuleDocument, ...] = ()
    webhooks: tuple[WebhookDocument, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> "PolicyDocument":
        names = [rule.name for rule in self.rules] + [webhook.name for webhook in self.webhooks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules or webhooks are named {', '.join(twice)}; give each its own name")
        return self
