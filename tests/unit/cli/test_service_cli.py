"""`raysvc service` from deploy to delete, against the real API on fakes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from raysvc.client.client import Client
from raysvc.domain.reason import ReasonCode
from raysvc.domain.service import ServicePhase, ServiceSpec
from raysvc.errors import Conflict, NotFound
from raysvc.testing.backend import FakeBackend

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Site

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def backend(site: "Site", client: Client) -> Iterator[FakeBackend]:
    backend = site.platform.backend
    assert isinstance(backend, FakeBackend)
    yield backend
    backend.services.failures.clear()
    for service in client.services.list():
        client.services.wait(client.services.delete(service.name), 30)


def shown(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_model_is_served_from_a_command_until_it_is_deleted(run: Run) -> None:
    done = run(
        "service", "deploy", "chat", "--model", "/models/one", "--max-model-len", "4096", "--cpus", "2", "--wait"
    )
    assert "chat: HEALTHY: Serving (revision 1)." in done.stdout
    assert "base_url http://127.0.0.1:8600/v1, model chat" in done.stderr
    found = shown(run("service", "status", "chat", "-o", "json"))
    assert (found["spec"]["engine"]["max_model_len"], found["spec"]["resources"]["cpus"]) == (4096, 2)
    assert "chat" in run("service", "list").stdout
    assert run("service", "list", "-o", "id").stdout == "chat\n"
    assert "1 of 1..1" in run("service", "status", "chat").stdout
    assert "chat is HEALTHY" in run("service", "explain", "chat").stdout
    assert "engine of revision 1 starts" in run("service", "logs", "chat").stdout
    assert "deployed as chat" in run("service", "events", "chat").stdout
    assert run("service", "delete", "chat", "--wait").stdout == "chat is gone.\n"
    run("service", "status", "chat", code=4)


def test_who_deletes_may_wait_for_one_that_is_gone_already(run: Run, client: Client) -> None:
    run("service", "deploy", "chat", "--model", "/models/one", "--wait")
    deleted = client.services.delete("chat")
    assert client.services.wait(deleted, 30).phase is ServicePhase.GONE
    assert client.services.wait(deleted, 30).phase is ServicePhase.GONE
    with pytest.raises(NotFound):
        client.services.wait("chat", 30)


def test_a_file_says_what_to_serve_and_options_win(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text("model: hf://Qwen/Qwen3-8B\nreplicas: {min: 1, max: 2}\nengine: {max_num_seqs: 8}\n")
    run("service", "deploy", "chat", "-f", str(file), "--max", "5", "--max-num-seqs", "16")
    spec = shown(run("service", "status", "chat", "-o", "json"))["spec"]
    assert (spec["model"], spec["replicas"]["max"], spec["engine"]["max_num_seqs"]) == ("hf://Qwen/Qwen3-8B", 5, 16)
    file.write_text("model: /m\nreplica: {min: 1}\n")
    wrong = run("service", "deploy", "other", "-f", str(file), code=3)
    assert f"{file}:2: replica: there is no such field; did you mean replicas?" in wrong.stderr.replace("\n", "")


def test_a_path_starts_where_the_person_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown_ = run("service", "deploy", "chat", "--model", "model", "--dry-run", "-o", "json")
    assert shown(shown_)["documents"][0]["body"]["applications"][0]["model"] == str(tmp_path / "model")
    assert run("service", "list", "-o", "id").stdout == ""


def test_options_of_an_update_change_what_they_name_alone(run: Run) -> None:
    run("service", "deploy", "chat", "--model", "/models/one", "--max-num-seqs", "8", "--wait")
    run("service", "update", "chat", "--max-model-len", "64", "--wait")
    found = shown(run("service", "status", "chat", "-o", "json"))
    assert (found["revision"], found["spec"]["model"]) == (2, "/models/one")
    assert found["spec"]["engine"] | {"max_num_seqs": 8, "max_model_len": 64} == found["spec"]["engine"]
    run("service", "rollback", "chat", "--wait")
    assert shown(run("service", "status", "chat", "-o", "json"))["spec"]["engine"]["max_model_len"] is None
    run("service", "scale", "chat", "--min", "2", "--wait")
    found = shown(run("service", "status", "chat", "-o", "json"))
    assert (found["revision"], found["spec"]["replicas"]["min"], found["spec"]["replicas"]["max"]) == (3, 2, 2)
    run("service", "scale", "chat", "--max", "1")
    found = shown(run("service", "status", "chat", "-o", "json"))
    assert (found["spec"]["replicas"]["min"], found["spec"]["replicas"]["max"]) == (1, 1)
    run("service", "scale", "chat", code=2)


def test_a_revision_that_fails_is_said_and_the_one_before_goes_on(run: Run, backend: FakeBackend) -> None:
    backend.services.failures["/models/bad"] = (ReasonCode.OUT_OF_MEMORY, "40 GiB do not fit into 24 GiB")
    failed = run("service", "deploy", "broken", "--model", "/models/bad", "--wait", code=1)
    assert "FAILED: The engine has too little memory (40 GiB do not fit into 24 GiB)" in failed.stdout
    assert "raysvc service explain broken" in failed.stderr
    assert "raysvc service plan" in run("service", "explain", "broken").stdout
    run("service", "wait", "broken", code=1)
    run("service", "deploy", "chat", "--model", "/models/one", "--wait")
    run("service", "update", "chat", "--model", "/models/bad", "--wait", code=1)
    assert "revision 2 failed" in run("service", "explain", "chat").stdout
    found = shown(run("service", "status", "chat", "-o", "json"))
    assert (found["phase"], found["serving"], found["spec"]["model"]) == ("HEALTHY", 1, "/models/one")


def test_what_policies_forbid_is_refused_by_the_name_of_the_rule(run: Run) -> None:
    refused = run("service", "deploy", "huge", "--model", "/m", "--gpus", "8", "--max", "2", code=3)
    assert "house, rule few-gpus: At most 8 GPUs." in refused.stderr.replace("\n", " ")


def test_it_says_what_is_missing(run: Run) -> None:
    assert "--model" in run("service", "deploy", "chat", code=2).stderr
    wrong = run("service", "deploy", "chat", "--model", "/m", "--min", "3", "--max", "2", code=3)
    assert "min <= max" in wrong.stderr
    run("service", "rollback", "nobody", code=4)
    run("service", "delete", "nobody", code=4)


def test_the_sdk_waits_and_raises_as_the_server_does(client: Client) -> None:
    client.services.deploy("chat", ServiceSpec(model="/models/one"))
    assert client.services.wait("chat", 30).ready == 1
    with pytest.raises(Conflict, match="no earlier revision"):
        client.services.rollback("chat")
    preview = client.services.preview(client.services.updating("chat", ServiceSpec(model="/models/two")))
    assert (preview.revision, client.services.get("chat").revision) == (2, 1)
