"""The Store in memory, for simulations and tests: the semantics of the real one, none of its durability."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from raysvc.domain.cluster import SharedCluster
from raysvc.domain.project import Package, Project, Secret, Token
from raysvc.errors import AlreadyExists, Conflict, NotFound
from raysvc.ports import Lease
from raysvc.testing.job_store import Gate, MemoryJobs, Name
from raysvc.testing.key_store import MemoryKeys, MemoryLedger
from raysvc.testing.pool_store import MemoryPools, MemoryQuarantines
from raysvc.testing.record_store import MemoryRecords
from raysvc.testing.service_store import MemoryServices, MemorySightings


class MemoryStore:
    """All of it is gone with the object, but not with `close`: it may be opened again, as after a restart."""

    def __init__(self) -> None:
        self._gate = Gate()
        packages: dict[Name, Package] = {}
        leases: dict[str, Lease] = {}
        self.jobs = MemoryJobs(self._gate, packages, leases)
        self.leases = MemoryLeases(self._gate, leases)
        self.projects = MemoryProjects(self._gate)
        self.tokens = MemoryTokens(self._gate)
        self.secrets = MemorySecrets(self._gate)
        self.packages = MemoryPackages(self._gate, packages, self.jobs)
        self.flags = MemoryFlags(self._gate)
        self.pools = MemoryPools(self._gate)
        self.quarantines = MemoryQuarantines(self._gate)
        self.keys = MemoryKeys(self._gate)
        self.ledger = MemoryLedger(self._gate)
        self.services = MemoryServices(self._gate, leases)
        self.clusters: MemoryRecords[SharedCluster] = MemoryRecords(self._gate, leases, "cluster")
        self.sightings = MemorySightings(self._gate, self.services)

    async def open(self) -> None:
        self._gate.open = True

    async def close(self) -> None:
        self._gate.open = False


class MemoryLeases:
    def __init__(self, gate: Gate, leases: dict[str, Lease]) -> None:
        self._gate = gate
        self._leases = leases

    async def get(self, name: str) -> Lease | None:
        self._gate.check()
        return self._leases.get(name)

    async def acquire(self, name: str, holder: str, *, now: datetime, ttl_s: float) -> Lease | None:
        self._gate.check()
        deadline = now + timedelta(seconds=ttl_s)
        last = self._leases.get(name)
        if last is None:
            lease = Lease(name=name, holder=holder, token=1, deadline=deadline)
        elif last.holder == holder:
            lease = last.model_copy(update={"deadline": deadline})
        elif last.holder and now < last.deadline:
            return None
        else:
            lease = Lease(name=name, holder=holder, token=last.token + 1, deadline=deadline)
        self._leases[name] = lease
        return lease

    async def release(self, lease: Lease) -> None:
        self._gate.check()
        last = self._leases.get(lease.name)
        if last is not None and (last.holder, last.token) == (lease.holder, lease.token):
            self._leases[lease.name] = last.model_copy(update={"holder": ""})


class MemoryProjects:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._projects: dict[str, Project] = {}

    async def put(self, project: Project) -> None:
        self._gate.check()
        self._projects[project.name] = project

    async def get(self, name: str) -> Project:
        self._gate.check()
        if name not in self._projects:
            raise NotFound(f"There is no project {name!r}.")
        return self._projects[name]

    async def list(self) -> Sequence[Project]:
        self._gate.check()
        return [project for _, project in sorted(self._projects.items())]


class MemoryTokens:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tokens: dict[str, Token] = {}
        self._hashes: dict[str, str] = {}

    async def add(self, token: Token, secret_hash: str) -> None:
        self._gate.check()
        if token.id in self._tokens or secret_hash in self._hashes:
            raise AlreadyExists("There is already a record with this id, name or uid.")
        self._tokens[token.id] = token
        self._hashes[secret_hash] = token.id

    async def by_hash(self, secret_hash: str) -> Token | None:
        self._gate.check()
        id_ = self._hashes.get(secret_hash)
        return None if id_ is None else self._tokens[id_]

    async def list(self) -> Sequence[Token]:
        self._gate.check()
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    async def revoke(self, token_id: str, at: datetime) -> None:
        self._gate.check()
        token = self._tokens.get(token_id)
        if token is None:
            raise NotFound(f"There is no token {token_id!r}.")
        if token.revoked_at is None:
            self._tokens[token_id] = token.model_copy(update={"revoked_at": at})


class MemorySecrets:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._secrets: dict[Name, tuple[Secret, bytes]] = {}

    async def put(self, secret: Secret, ciphertext: bytes) -> None:
        self._gate.check()
        self._secrets[secret.project, secret.name] = (secret, ciphertext)

    async def get(self, project: str, name: str) -> tuple[Secret, bytes]:
        self._gate.check()
        return self._secrets[self._known(project, name)]

    async def list(self, project: str) -> Sequence[Secret]:
        self._gate.check()
        return [secret for (owner, _), (secret, _) in sorted(self._secrets.items()) if owner == project]

    async def delete(self, project: str, name: str) -> None:
        self._gate.check()
        del self._secrets[self._known(project, name)]

    def _known(self, project: str, name: str) -> Name:
        if (project, name) not in self._secrets:
            raise NotFound(f"Project {project!r} has no secret {name!r}.")
        return project, name


class MemoryPackages:
    def __init__(self, gate: Gate, packages: dict[Name, Package], jobs: MemoryJobs) -> None:
        self._gate = gate
        self._packages = packages
        self._jobs = jobs

    async def add(self, package: Package) -> Package:
        self._gate.check()
        first = self._packages.setdefault((package.project, package.name), package)
        if first.digest != package.digest:
            raise Conflict(
                f"Project {package.project!r} already has a package {package.name!r} with other contents. "
                "Give this one another name.",
                field="name",
            )
        return await self.pin(package.project, package.name, package.pinned_until)

    async def get(self, project: str, name: str) -> Package:
        self._gate.check()
        if (project, name) not in self._packages:
            raise NotFound(f"Project {project!r} has no package {name!r}. Upload it again.")
        return self._packages[project, name]

    async def pin(self, project: str, name: str, until: datetime) -> Package:
        package = await self.get(project, name)
        pinned = package.model_copy(update={"pinned_until": max(until, package.pinned_until)})
        self._packages[project, name] = pinned
        return pinned

    async def find(self, project: str) -> Sequence[Package]:
        self._gate.check()
        return [package for (owner, _), package in sorted(self._packages.items()) if owner == project]

    async def remove_unreferenced(self, now: datetime, limit: int) -> Sequence[Package]:
        self._gate.check()
        named = self._jobs.named_packages()
        over = [p for name, p in self._packages.items() if p.pinned_until <= now and name not in named]
        gone = sorted(over, key=lambda package: package.pinned_until)[:limit]
        for package in gone:
            del self._packages[package.project, package.name]
        return gone


class MemoryFlags:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._flags: dict[str, str] = {}

    async def get(self, name: str) -> str | None:
        self._gate.check()
        return self._flags.get(name)

    async def put(self, name: str, value: str | None) -> None:
        self._gate.check()
        if value is None:
            self._flags.pop(name, None)
        else:
            self._flags[name] = value
