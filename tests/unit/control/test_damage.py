"""What the disk has done to a package, and to the store while the server stops: said, and not passed on."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raysvc.control.shelf import Shelf
from raysvc.control.vault import package_key
from raysvc.domain.access import Principal
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.project import Package, Role
from raysvc.domain.reason import Fault, ReasonCode
from raysvc.errors import Unavailable
from raysvc.ports import Lease
from tests.unit.api_ray.world import World
from tests.unit.control.world import Place
from tests.unit.domain.archives import REG, zipped

ADMIN = Principal(name="admin", role=Role.ADMIN)
NAME = "_ray_pkg_0123456789abcdef.zip"


async def uploaded(place: Place, folder: Path) -> Package:
    async def chunks() -> AsyncIterator[bytes]:
        yield zipped(("train.py", b"print(1)", REG))

    shelf = Shelf(place.store, place.blobs, place.clock, folder, 1 << 20)
    return await shelf.put(ADMIN, "default", ("gcs", NAME), chunks())


async def ended(place: Place) -> Job:
    job = await place.submit("echo hi", runtime_env={"working_dir": f"gcs://{NAME}"}, retry={"infrastructure": 1})
    await place.pass_by(30)
    return await place.now(job)


async def test_a_package_whose_bytes_have_changed_does_not_run(tmp_path: Path) -> None:
    place = await Place().open()
    package = await uploaded(place, tmp_path)
    assert (await ended(place)).phase is JobPhase.SUCCEEDED

    async def flipped() -> AsyncIterator[bytes]:
        data = bytearray(b"".join([chunk async for chunk in place.blobs.read(package_key(package))]))
        data[40] ^= 1
        assert hashlib.sha256(data).hexdigest() != package.sha256
        yield bytes(data)

    await place.blobs.put(package_key(package), flipped())
    job = await ended(place)
    assert job.phase is JobPhase.FAILED
    assert [attempt.reason and attempt.reason.code for attempt in job.attempts] == [ReasonCode.PACKAGE_DAMAGED] * 2
    assert (job.reason.code, job.reason.fault) == (ReasonCode.PACKAGE_DAMAGED, Fault.INFRASTRUCTURE)
    assert NAME in job.reason.message
    assert await place.log(job) == "\n[raysvc] ---- attempt 2 ----\n"


async def test_a_store_that_does_not_answer_any_more_keeps_nobody_from_ending_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    await world.open()
    await world.platform.start()

    async def gone(_lease: Lease) -> None:
        raise Unavailable("the disk is full")

    await world.platform._leadership.renew()  # noqa: SLF001 so that there is a lease to give back
    monkeypatch.setattr(world.store.leases, "release", gone)
    await world.platform.close()
    [cluster] = await world.platform.backend.clusters.list()
    assert cluster.phase is ClusterPhase.GONE
