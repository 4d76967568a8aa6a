"""`raysvc key` and `raysvc usage`, against the real API."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import Result

from raysvc.client.client import Client
from raysvc.domain.key import NewKey, UsageBy
from raysvc.domain.replica import ReplicaReport, ReplicaState, Usage
from raysvc.errors import NotFound

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Site

Run = Callable[..., Result]
_NUMBERS = count(1)
_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def project(client: Client) -> str:
    """A project of the test's own: the server is shared by all of them."""
    name = f"keys-{next(_NUMBERS)}"
    client.projects.create(name)
    return name


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(run: Run, project: str) -> None:
    limits = ("--rpm", "600", "--tpm", "1e6", "--budget-tokens", "5000000", "--expires", "90d", "--name", "chat")
    made = run("key", "create", "--project", project, "--services", "llama,qwen", "--services", "embed", *limits)
    secret = made.stdout.strip()
    assert secret.startswith("rsk-")
    assert secret not in made.stderr
    listed = run("key", "list", "--project", project)
    assert "llama, qwen, embed" in listed.stdout
    assert all(word in listed.stdout for word in ("600", "1,000,000", "5,000,000", "chat"))
    assert secret not in listed.stdout
    (key,) = json.loads(run("key", "list", "--project", project, "-o", "json").stdout)
    assert timedelta(days=89) < datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC) < timedelta(days=91)
    assert "revoked" in run("key", "revoke", key["id"], "--project", project).stdout
    run("key", "revoke", key["id"], "--project", project)
    assert "revoked" in run("key", "list", "--project", project).stdout
    run("key", "revoke", "nothing", "--project", project, code=4)


def test_a_dry_run_shows_the_request_and_makes_nothing(run: Run, client: Client, project: str) -> None:
    shown = yaml.safe_load(run("key", "create", "--project", project, "--rpm", "5", "--dry-run").stdout)
    assert (shown["method"], shown["path"], shown["query"]) == ("POST", "/v1/keys", {"project": project})
    assert shown["body"] == {"requests_per_minute": 5.0}
    assert client.keys.list(project=project) == []
    made = client.keys.create(NewKey(name="x"), project=project)
    assert yaml.safe_load(run("key", "revoke", made.key.id, "--project", project, "--dry-run").stdout)["method"]
    assert client.keys.list(project=project)[0].revoked_at is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rpm", "0"), "--rpm: Input should be greater than 0"),
        (("--budget-tokens", "-1"), "--budget-tokens: Input should be greater"),
        (("--services", "Not_A_Name"), "--services: String should match"),
        (("--expires", "soon"), "--expires soon: write 12h"),
        (("--expires", "2020-01-01"), "expires_at is in the past"),
        (("--name", "a\nb"), "name holds the character"),
    ],
)
def test_what_makes_no_sense_is_said(run: Run, project: str, words: tuple[str, ...], said: str) -> None:
    assert said in run("key", "create", "--project", project, *words, code=3).stderr


def test_a_project_that_is_not_there_is_said(run: Run) -> None:
    for command in (("key", "create"), ("key", "list"), ("usage",)):
        assert "no project" in run(*command, "--project", "nowhere", code=4).stderr


def test_usage_is_shown_by_key_service_and_day(run: Run, site: "Site", client: Client, project: str) -> None:
    key = client.keys.create(project=project).key.id
    usage = [
        Usage(sequence=n, key=key, request_id="r", at=_AT + timedelta(days=n), status=200 if n else 499,
              prompt_tokens=1000, completion_tokens=n)
        for n in (1, 2)
    ]  # fmt: skip
    report = ReplicaReport(
        service="0123456789abcdef", revision=1, replica=project, host="127.0.0.1", port=1, state=ReplicaState.READY,
        usage=tuple(usage),
    )  # fmt: skip
    # Another event loop than the server's, on a store in memory that knows of none.
    assert asyncio.run(site.platform.usage.take(report, project=project, service="llama")) == 2
    table = run("usage", "--project", project).stdout
    assert "2,000" in table
    assert key in table
    days = json.loads(run("usage", "--project", project, "--by", "day", "--since", "2026-02-02", "-o", "json").stdout)
    assert [(day["of"], day["completion_tokens"]) for day in days] == [("2026-02-02", 2)]
    assert run("usage", "--project", project, "--by", "service", "-o", "id").stdout == "llama\n"
    assert client.keys.usage(UsageBy.SERVICE, project=project)[0].requests == 2
    assert client.keys.usage(UsageBy.DAY, until=_AT.date(), project=project) == []
    run("usage", "--project", project, "--since", "2026-02-02", "--until", "2026-02-01", code=3)
    run("usage", "--project", project, "--by", "colour", code=2)


def test_a_key_of_another_project_is_not_there(client: Client, project: str) -> None:
    made = client.keys.create(project=project)
    with pytest.raises(NotFound):
        client.keys.revoke(made.key.id, project="default")
    assert client.keys.list(project=project)[0].revoked_at is None
