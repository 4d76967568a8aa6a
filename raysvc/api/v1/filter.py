"""Which jobs a list is about, as people write it in a query; the pages take the same."""

from typing import Annotated

from pydantic import Field

from raysvc.api.v1.caller import When
from raysvc.domain.job import JobPhase
from raysvc.domain.model import Model, Name
from raysvc.domain.query import JobQuery


class JobFilter(Model):
    """All filters hold together; one that is left out lets everything pass."""

    project: tuple[Name, ...] = Field(default=(), description="may be repeated; none: all that the token sees")
    phase: tuple[JobPhase, ...] = Field(default=(), description="may be repeated")
    owner: str | None = Field(default=None, max_length=128)
    name_prefix: str | None = Field(default=None, max_length=128)
    label: Annotated[str, Field(pattern="^[^:]+:")] | None = Field(
        default=None, max_length=1024, description="one label, as key:value", examples=["team:nlp"]
    )
    created_after: When | None = None
    created_before: When | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=1000, description="`next_cursor` of the page before")

    def query(self) -> JobQuery:
        """Return what the store is asked."""
        key, _, value = (self.label or "").partition(":")
        return JobQuery(
            projects=self.project or None,
            phases=self.phase or None,
            owner=self.owner,
            name_prefix=self.name_prefix,
            label=(key, value) if self.label else None,
            created_after=self.created_after,
            created_before=self.created_before,
            limit=self.limit,
            cursor=self.cursor,
        )
