"""Jobs through the SDK: lists in pages, logs over breaks, waiting, uploads."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from raysvc.client.client import Client
from raysvc.client.sse import events
from raysvc.domain.job import JobPhase, JobSpec, PayloadCode
from raysvc.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from tests.unit.client.conftest import Scripted

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def client(server: "Scripted", naps: list[float]) -> Iterator[Client]:
    with Client(server.url, "raysvc_t", "team-a", sleep=naps.append) as made:
        yield made


def query(path: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(path).query)


def sse(*events: tuple[int, str, Any]) -> bytes:
    return "".join(f"id: {ident}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for ident, kind, data in events).encode()


def test_a_list_fetches_pages_as_they_are_needed(server: "Scripted", client: Client, job_json: Make) -> None:
    pages = [{"items": [job_json(id=f"j{n}")] * 2, "next_cursor": f"c{n}"} for n in (1, 2)]
    server.says(*pages, {"items": [job_json(id="j3")], "next_cursor": None})
    found = client.jobs.list(phase=[JobPhase.RUNNING, JobPhase.QUEUED], owner="ann", label="team:x")
    next(found)
    assert len(server.asked) == 1
    assert [job.id for job in found] == ["j1", "j2", "j2", "j3"]
    first, last = query(server.asked[0].path), query(server.asked[2].path)
    assert first["phase"] == ["RUNNING", "QUEUED"]
    assert (first["project"], first["label"]) == (["team-a"], ["team:x"])
    assert last["cursor"] == ["c2"]


def test_a_list_ends_at_its_limit_and_names_no_project_for_all(
    server: "Scripted", client: Client, job_json: Make
) -> None:
    server.says({"items": [job_json()] * 2, "next_cursor": "c"})
    assert len(list(client.jobs.list(project="*", limit=4))) == 4
    assert [query(asked.path)["limit"] for asked in server.asked] == [["4"], ["2"]]
    assert "project" not in query(server.asked[0].path)


def test_a_log_is_read_in_pages_and_a_character_on_the_border_is_whole(server: "Scripted", client: Client) -> None:
    text = "loss 0.5 ✓\n".encode()
    cut = text.index("✓".encode()) + 1
    pages = [server.raw(text[:cut], X_Next_Offset=str(cut)), server.raw(text[cut:], X_Next_Offset=str(len(text)))]
    server.says(*pages, server.raw(b"", X_Next_Offset=str(len(text))))
    assert "".join(client.jobs.logs("j")) == "loss 0.5 ✓\n"
    assert query(server.asked[1].path)["offset"] == [str(cut)]


def test_following_takes_up_a_broken_stream_where_it_broke(
    server: "Scripted", client: Client, naps: list[float]
) -> None:
    first = sse((5, "log", {"offset": 5, "text": "one\n"}))
    second = sse((9, "log", {"offset": 9, "text": "two\u2028\n"}), (9, "end", {"phase": "SUCCEEDED"}))
    server.says(server.drops(first), server.drops(), server.raw(second))
    assert list(client.jobs.logs("j", follow=True)) == ["one\n", "two\u2028\n"]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "5", "5"]
    assert naps == [1.0, 1.0]


def test_following_gives_up_on_a_server_that_stays_away(server: "Scripted", client: Client, naps: list[float]) -> None:
    server.says(server.raw(sse((1, "log", {"offset": 1, "text": "x"}))), server.drops())
    with pytest.raises(Unavailable):
        list(client.jobs.logs("j", follow=True))
    assert 59 <= sum(naps) <= 62
    server.says(server.drops())
    with pytest.raises(Unavailable):  # and one that never answered is not waited for
        list(client.jobs.logs("j", follow=True))
    assert sum(naps) <= 62


def test_following_a_job_that_is_gone_ends_at_once(server: "Scripted", client: Client) -> None:
    server.says(server.problem(404, code="not_found", detail="none"))
    with pytest.raises(NotFound):
        list(client.jobs.events("j", follow=True))


def test_a_stream_survives_any_cut_of_its_bytes() -> None:
    body = b": ping\r\n\r\nid: 1\r\nevent: log\r\ndata: " + json.dumps({"t": "é\u2028"}, ensure_ascii=False).encode()
    whole = body + b"\r\n\r\nid: 2\ndata: {}\n\nid: 3\ndata: {"
    for step in range(1, 9):
        found = list(events(whole[n : n + step] for n in range(0, len(whole), step)))
        assert [(event.id, event.kind) for event in found] == [("1", "log"), ("2", "message")]
        assert found[0].data == {"t": "é\u2028"}


def test_wait_looks_until_the_end_and_says_each_look(
    server: "Scripted", client: Client, job_json: Make, naps: list[float]
) -> None:
    away = server.drops()
    server.says(job_json(), *[away] * 4, job_json(phase="RUNNING"), job_json(phase="SUCCEEDED"))
    seen: list[str] = []
    assert client.jobs.wait("j", on_look=lambda job: seen.append(job.phase)).phase is JobPhase.SUCCEEDED
    assert seen == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert 1.0 in naps  # the server was away for longer than one call tries


def test_wait_has_an_end(server: "Scripted", client: Client, job_json: Make) -> None:
    server.says(job_json())
    with pytest.raises(TimeoutError, match=r"still QUEUED after 0.1 s; it goes on"):
        client.jobs.wait("j", timeout=0.1)


def test_a_local_folder_is_uploaded_once(server: "Scripted", client: Client, job_json: Make, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)")
    missing = server.raw(b"Package does not exist", 404, Content_Type="text/plain")
    accepted = {**job_json(), "warnings": []}
    server.says(missing, server.drops(), server.raw(b""), accepted)
    spec = JobSpec(entrypoint="python train.py", runtime_env={"working_dir": "code"})
    client.jobs.submit(spec, folder=tmp_path, name="mine")
    look, cut, put, post = server.asked
    assert (look.method, cut.method, put.method) == ("GET", "PUT", "PUT")
    assert put.path == look.path == cut.path
    assert put.path.startswith("/p/team-a/api/packages/gcs/_ray_pkg_")
    assert zipfile.ZipFile(io.BytesIO(put.body)).namelist() == ["train.py"]
    assert post.json["spec"]["runtime_env"]["working_dir"] == "gcs://" + put.path.rpartition("/")[2]
    assert post.json["spec"]["name"] == "mine"
    server.asked.clear()
    server.says(server.raw(b""), accepted)
    client.jobs.submit(spec, folder=tmp_path)
    assert [asked.method for asked in server.asked] == ["GET", "POST"]


@pytest.mark.parametrize("code", [PayloadCode(name="train_lm"), {"kind": "payload", "name": "train_lm"}])
def test_code_is_sent_with_its_kind(server: "Scripted", client: Client, job_json: Make, code: Any) -> None:
    server.says({**job_json(), "warnings": []})
    client.jobs.submit(JobSpec(entrypoint="x", code=code), priority=1)
    client.jobs.submit(entrypoint="x", code=code)
    for asked in server.asked:
        assert asked.json["spec"]["code"] == {"kind": "payload", "name": "train_lm"}
    assert server.asked[0].json["spec"]["priority"] == 1


def test_a_preview_uploads_nothing(server: "Scripted", client: Client, job_json: Make, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    rendered = {"format": "http", "documents": [{"method": "POST"}]}
    server.says({"job": job_json(), "rendered": rendered, "warnings": ["careful"]})
    found = client.jobs.preview(entrypoint="python train.py", runtime_env={"working_dir": str(tmp_path)})
    assert found.rendered.documents == ({"method": "POST"},)
    assert found.warnings == ("careful",)
    assert [(asked.method, query(asked.path)["dry_run"]) for asked in server.asked] == [("POST", ["true"])]


def test_warnings_of_policies_are_heard(server: "Scripted", client: Client, job_json: Make) -> None:
    server.says({**job_json(), "warnings": ["policy cost: label it"]})
    with pytest.warns(UserWarning, match="policy cost: label it"):
        client.jobs.submit(entrypoint="true")


def test_a_wrong_field_is_refused_before_anything_is_sent(server: "Scripted", client: Client) -> None:
    with pytest.raises(Invalid, match="priority: ") as caught:
        client.jobs.submit({"entrypoint": "true"}, priority="high")
    assert caught.value.field == "priority"
    with pytest.raises(Invalid, match="entrypoint: Field required"):
        client.jobs.submit(name="x")
    assert not server.asked


def test_a_download_is_whole_or_not_there(server: "Scripted", client: Client, tmp_path: Path) -> None:
    server.says(server.drops(b"half a mod"))
    with pytest.raises(Unavailable, match="broke off"):
        client.jobs.artifacts.download("j", "model/a b.bin", tmp_path)
    assert not list(tmp_path.iterdir())
    server.says(server.raw(b"a whole model"))
    seen: list[int] = []
    path = client.jobs.artifacts.download("j", "model/a b.bin", tmp_path, on_progress=seen.append)
    assert path == tmp_path / "a b.bin"
    assert path.read_bytes() == b"a whole model"
    assert sum(seen) == 13
    assert server.asked[-1].path == "/v1/jobs/j/artifacts/model/a%20b.bin?project=team-a"
