"""Services on local Ray, against a server that takes declarations as Ray Serve's dashboard does."""

import json
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raysvc.backends.local.area import Area
from raysvc.backends.local.config import LocalConfig
from raysvc.backends.local.services import LocalServices, ServiceWorld
from raysvc.backends.local.session import GivenAddress, Session
from raysvc.backends.local.supervisor import Supervisor
from raysvc.backends.rayjob.api import RayApi
from raysvc.domain.observation import Seen
from raysvc.domain.service import EngineSpec, Service, ServiceSpec, deploy, revise
from raysvc.errors import Invalid, NotFound
from raysvc.ports import ReplicaHome
from raysvc.testing.clock import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UID = "0" * 16
TOKEN = "secret-token"


class Dashboard:
    """Keeps what was declared; `puts` are the bodies. All is RUNNING at once, but for what `status` says.

    `leaving`: what is declared no more, and still there with the requests that it has in hand.
    """

    def __init__(self) -> None:
        self.declared: dict[str, dict[str, Any]] = {"somebodys": {"name": "somebodys", "import_path": "x:y"}}
        self.puts: list[dict[str, Any]] = []
        self.status: dict[str, str] = {}
        self.leaving: dict[str, dict[str, Any]] = {}
        board = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {
                    name: {
                        "status": board.status.get(name, "RUNNING"),
                        "message": "",
                        "deployments": {},
                        "deployed_app_config": config,
                    }
                    for name, config in board.declared.items()
                } | board.leaving
                self._reply({"applications": found})

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                board.puts.append(body)
                board.declared = {each["name"]: each for each in body["applications"]}
                self._reply({})

            def _reply(self, answer: object) -> None:
                text = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def ours(self) -> set[str]:
        return {name.rpartition("-")[2] for name in self.declared if UID in name}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class World:
    def __init__(self, folder: Path, dashboard: Dashboard) -> None:
        self.area = Area(folder / "work")
        self.area.prepare()
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        self.url = "http://127.0.0.1:1"
        self.api = RayApi(f"http://127.0.0.1:{dashboard.server.server_port}", None)
        clock = FakeClock(NOW)
        self.supervisor = Supervisor(GivenAddress(LocalConfig(data_dir=folder), self.api.url), clock, 60.0)
        self.supervisor.session = Session(self.api, "session_1", "2.60.0", "node", None)
        self.clock = clock

    def services(self, url: str = "http://127.0.0.1:8500") -> LocalServices:
        home = ReplicaHome(url=url, token=lambda uid: f"{TOKEN}-{uid}")
        return LocalServices(ServiceWorld(self.supervisor, lambda: self.area, home, self.clock, "abc", own=True))

    def service(self, **fields: Any) -> Service:
        spec = ServiceSpec(**{"model": str(self.model), **fields})
        return deploy(spec, name="chat", uid=UID, project="team", owner="me", now=NOW)[0]


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    made = Dashboard()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
async def world(tmp_path: Path, dashboard: Dashboard) -> AsyncIterator[World]:
    made = World(tmp_path, dashboard)
    yield made
    await made.api.close()


async def test_others_applications_stay_as_they_are(world: World, dashboard: Dashboard) -> None:
    services, before = world.services(), dashboard.declared["somebodys"]
    await services.apply(world.service())
    assert dashboard.ours() == {"1"}
    assert dashboard.declared["somebodys"] == before
    await services.delete(UID)
    assert dashboard.declared == {"somebodys": before}


async def test_what_is_rendered_is_what_is_sent_and_a_second_apply_sends_nothing(
    world: World, dashboard: Dashboard
) -> None:
    services = world.services()
    (call,) = services.render(world.service()).documents
    for _ in range(2):
        await services.apply(world.service())
    (put,) = dashboard.puts
    (ours,) = call["body"]["applications"]
    assert (ours in put["applications"], put["proxy_location"]) == (True, "Disabled")


async def test_a_revision_that_took_over_stands_alone(world: World, dashboard: Dashboard) -> None:
    services, first = world.services(), world.service().model_copy(update={"serving": 1})
    await services.apply(first)
    second = revise(first, first.spec.model_copy(update={"engine": EngineSpec(max_model_len=8)}), NOW, actor="me")[-1][
        0
    ]
    await services.apply(second)
    assert dashboard.ours() == {"1", "2"}
    await services.apply(second.model_copy(update={"serving": 2}))
    assert dashboard.ours() == {"2"}


async def test_after_a_rollback_the_revision_that_went_back_is_seen_and_not_the_one_on_its_way_out(
    world: World, dashboard: Dashboard
) -> None:
    services, first = world.services(), world.service().model_copy(update={"serving": 1})
    second = revise(first, first.spec.model_copy(update={"engine": EngineSpec(max_model_len=8)}), NOW, actor="me")
    await services.apply(second[-1][0])
    (bad,) = (name for name in dashboard.declared if name.endswith(f"{UID}-2"))
    dashboard.status[bad] = "DEPLOY_FAILED"
    assert (await world.services().observe(UID)).seen is Seen.FAILED
    await services.apply(first)
    dashboard.leaving[bad] = {"status": "DELETING", "message": "", "deployments": {}, "deployed_app_config": None}
    assert (await world.services().observe(UID)).seen is Seen.RUNNING
    await services.delete(UID)
    assert (await world.services().observe(UID)).seen is Seen.PENDING, "what is on its way out is still there"
    dashboard.leaving.clear()
    assert (await world.services().observe(UID)).seen is Seen.ABSENT


async def test_the_token_lies_in_a_private_file_and_nowhere_else(world: World, dashboard: Dashboard) -> None:
    await world.services().apply(world.service())
    link = world.area.services / UID / "link.json"
    assert json.loads(link.read_text()) == {"url": "http://127.0.0.1:8500", "token": f"{TOKEN}-{UID}"}
    assert stat.S_IMODE(link.stat().st_mode) == 0o600
    assert TOKEN not in json.dumps(dashboard.puts)


async def test_a_server_with_another_address_tells_the_replicas_that_are_there(world: World) -> None:
    await world.services().apply(world.service())
    await world.services("http://127.0.0.1:9999").observe(UID)
    assert "9999" in (world.area.services / UID / "link.json").read_text()


async def test_what_is_seen(world: World) -> None:
    services = world.services()
    assert (await services.observe(UID)).seen is Seen.ABSENT
    await services.apply(world.service())
    assert (await services.observe(UID)).seen is Seen.RUNNING
    assert [uid async for uid in services.owned()] == [UID]
    await world.api.close()
    assert (await world.services().observe(UID)).seen is Seen.UNKNOWN


async def test_what_a_deleted_service_wrote_goes_once_it_is_gone(world: World) -> None:
    services = world.services()
    await services.apply(world.service())
    await services.delete(UID)
    assert (world.area.services / UID).exists()
    await services.delete(UID)
    assert not (world.area.services / UID).exists()
    await services.delete(UID)


async def test_logs_begin_at_an_offset(world: World) -> None:
    await world.services().apply(world.service())
    (world.area.services / UID / "work" / "engine.log").write_text("first\nsecond\n")
    assert b"".join([it async for it in world.services().logs(UID, offset=6, follow=False)]) == b"second\n"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "hf://org/model"}, "model"),
        ({"model": "relative/path"}, "model"),
        ({"engine": EngineSpec(tensor_parallel=2)}, "engine"),
    ],
)
async def test_what_can_never_be_served_here_is_said(world: World, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        world.services().render(world.service(**fields))
    assert caught.value.field == field


async def test_a_directory_without_a_model_is_said(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json"):
        await world.services().apply(world.service(model=str(tmp_path)))
