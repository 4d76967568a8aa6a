"""What an operator sees and steers: the clusters, the rules that are loaded, and the pause of admission."""

from collections.abc import Sequence

from raysvc.control.queue import PAUSED
from raysvc.control.signal import Signals
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.cluster import Cluster
from raysvc.domain.model import Model
from raysvc.domain.text import check_prose
from raysvc.errors import NotFound
from raysvc.ports import Clusters, Flags, Policy


class AdmissionState(Model):
    """While paused nothing new starts; submissions are still taken and wait."""

    paused: bool
    message: str = ""


class Floor:
    """Each verb checks the principal first."""

    def __init__(self, clusters: Clusters, flags: Flags, policies: Sequence[Policy], signals: Signals) -> None:
        self._clusters = clusters
        self._flags = flags
        self._policies = policies
        self._signals = signals

    async def clusters(self, principal: Principal) -> Sequence[Cluster]:
        """Return the clusters of projects that the principal sees, by name."""
        seen = [cluster for cluster in await self._clusters.list() if principal.sees(cluster.project)]
        return sorted(seen, key=lambda cluster: cluster.name)

    async def cluster(self, principal: Principal, name: str) -> Cluster:
        """Return the cluster as it is now; raises NotFound, also for another project's."""
        missing = NotFound(f"There is no cluster {name!r} for this token.")
        try:
            cluster = await self._clusters.get(name)
        except NotFound as error:
            raise missing from error
        if not principal.sees(cluster.project):
            raise missing
        return cluster

    def policies(self, principal: Principal) -> Sequence[str]:
        """Return the names of the policies that review each submission, in their order."""
        access.authorise(principal, Verb.READ, Resource.POLICY, _anywhere(principal))
        return [policy.name for policy in self._policies]

    async def admission(self, principal: Principal) -> AdmissionState:
        """Return whether admission is paused, and what was said when it was."""
        access.authorise(principal, Verb.READ, Resource.ADMISSION, _anywhere(principal))
        message = await self._flags.get(PAUSED)
        return AdmissionState(paused=message is not None, message=message or "")

    async def pause(self, principal: Principal, message: str, *, dry_run: bool = False) -> AdmissionState:
        """Start nothing new until resumed, and let every waiting job say `message`. May be repeated."""
        access.authorise(principal, Verb.MANAGE, Resource.ADMISSION, _anywhere(principal))
        check_prose(message, "message")
        if not dry_run:
            await self._flags.put(PAUSED, message)
        return AdmissionState(paused=True, message=message)

    async def resume(self, principal: Principal, *, dry_run: bool = False) -> AdmissionState:
        """End the pause. May be repeated."""
        access.authorise(principal, Verb.MANAGE, Resource.ADMISSION, _anywhere(principal))
        if not dry_run:
            await self._flags.put(PAUSED, None)
            self._signals.notify(Signals.RECONCILER)
        return AdmissionState(paused=False)


def _anywhere(principal: Principal) -> str:
    """Return a project the principal sees: what belongs to the whole platform is asked for in any of them."""
    return next(iter(principal.projects), "*")
