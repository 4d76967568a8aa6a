"""The ledger of tokens: what replicas report, once each, and what a project is told of it."""

from collections import Counter
from collections.abc import Sequence

from raysvc.control.key import KeyDesk
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.key import UsageBy, UsagePeriod, UsageTotal
from raysvc.domain.replica import ReplicaReport
from raysvc.errors import Invalid
from raysvc.ports import Clock, Ledger, Projects, UsageBatch


class UsageDesk:
    """Whoever may read a project may read what it used."""

    def __init__(self, ledger: Ledger, keys: KeyDesk, projects: Projects, clock: Clock) -> None:
        self._ledger = ledger
        self._keys = keys
        self._projects = projects
        self._clock = clock

    async def take(self, report: ReplicaReport, *, project: str, service: str) -> int:
        """Keep the report's usage, each request once; return the sequence number through which all is kept, durably.

        `project` and `service` (its id) are those of `report.service`; the caller has made sure that the report comes
        from a replica of it. May be repeated. Raises Unavailable, and then nothing or all of it is kept.
        """
        now = self._clock.now()
        # A replica whose clock is ahead must not count for days that have not come.
        usage = [each if each.at <= now else each.model_copy(update={"at": now}) for each in report.usage]
        through, fresh = await self._ledger.take(UsageBatch(project, service, report.service, report.replica, usage))
        spent: Counter[str] = Counter()
        for each in fresh:
            spent[each.key] += each.prompt_tokens + each.completion_tokens
        self._keys.charge(project, service, report.replica, spent)
        return through

    async def find(self, principal: Principal, project: str, by: UsageBy, period: UsagePeriod) -> Sequence[UsageTotal]:
        """Return what the project used, by key, service or day, in the order of that. Raises NotFound, Invalid."""
        access.authorise(principal, Verb.READ, Resource.USAGE, project)
        await self._projects.get(project)
        if period.since is not None and period.until is not None and period.since > period.until:
            raise Invalid("since is after until; both days are included.", field="since")
        return await self._ledger.totals(project, by, period)
