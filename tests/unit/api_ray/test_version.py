"""The handshake, and what idle detectors ask."""

import httpx
import pytest
import ray

from raysvc.domain.job import JobPhase as P
from tests.unit.api_ray.world import World


@pytest.mark.parametrize("path", ["/api/version", "/api/version/", "/p/team-a/api/version"])
async def test_the_version_is_that_of_the_ray_we_ship(client: httpx.AsyncClient, path: str) -> None:
    reply = (await client.get(path)).json()
    assert list(reply) == ["version", "ray_version", "ray_commit", "session_name"]
    assert int(reply["version"]) > 0
    assert (reply["ray_version"], reply["ray_commit"]) == (ray.__version__, ray.__commit__)


async def test_a_project_is_active_while_it_has_work(client: httpx.AsyncClient, world: World) -> None:
    async def driver() -> dict[str, object]:
        body: dict[str, dict[str, object]] = (await client.get("/api/component_activities")).json()
        assert list(body) == ["driver"]
        return body["driver"]

    idle = await driver()
    assert (idle["is_active"], idle["reason"], idle["last_activity_at"]) == ("INACTIVE", None, None)
    for name in ("a", "b"):
        await client.post("/api/jobs/", json={"entrypoint": "true", "submission_id": name})
    await client.post("/p/team-a/api/jobs/", json={"entrypoint": "true"})
    await world.move("a", P.STARTING)
    busy = await driver()
    assert (busy["is_active"], busy["reason"]) == ("ACTIVE", "Number of active drivers: 2")
    await world.move("a", P.SUCCEEDED)
    await world.move("b", P.CANCELLED)
    over = await driver()
    assert (over["is_active"], over["last_activity_at"]) == ("INACTIVE", world.clock.now().timestamp())
