"""A project's secrets, as admins manage them. Values go in and never come out here."""

from collections.abc import Sequence

from raysvc.control.vault import Vault
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.project import Secret
from raysvc.ports import Clock, Projects, Secrets


class SecretDesk:
    """Each verb checks the principal first. With `dry_run` a write is checked and not kept."""

    def __init__(self, vault: Vault, secrets: Secrets, projects: Projects, clock: Clock) -> None:
        self._vault = vault
        self._secrets = secrets
        self._projects = projects
        self._clock = clock

    async def find(self, principal: Principal, project: str) -> Sequence[Secret]:
        """Return the public halves of the project's secrets, by name."""
        access.authorise(principal, Verb.READ, Resource.SECRET, project)
        await self._projects.get(project)
        return sorted(await self._secrets.list(project), key=lambda secret: secret.name)

    async def put(self, principal: Principal, project: str, name: str, value: str, *, dry_run: bool = False) -> Secret:
        """Keep a secret, replacing an earlier value. May be repeated. A dry run's digest is empty."""
        access.authorise(principal, Verb.MANAGE, Resource.SECRET, project)
        await self._projects.get(project)
        if not dry_run:
            return await self._vault.put(project, name, value)
        now = self._clock.now()
        return Secret(name=name, project=project, digest="", created_at=now, updated_at=now)

    async def delete(self, principal: Principal, project: str, name: str, *, dry_run: bool = False) -> Secret:
        """Forget a secret and return its public half; jobs that name it fail when they start. Raises NotFound."""
        access.authorise(principal, Verb.DELETE, Resource.SECRET, project)
        secret, _ = await self._secrets.get(project, name)
        if not dry_run:
            await self._secrets.delete(project, name)
        return secret
