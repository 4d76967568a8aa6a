"""Uploads, by the client's names."""

import io
import zipfile
from collections.abc import AsyncIterator

import httpx
import pytest

from raysvc.domain.project import Role
from tests.unit.api_ray.world import MAX_PACKAGE, World

PATH = "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"


def archive(text: str = "print(1)", second: int = 2) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(zipfile.ZipInfo("main.py", (2026, 1, 1, 0, 0, second)), text)
    return out.getvalue()


async def test_a_package_is_missing_then_uploaded_then_there(client: httpx.AsyncClient) -> None:
    missing = await client.get(PATH)
    assert missing.status_code == 404
    assert missing.text == "Package gcs://_ray_pkg_0123456789abcdef.zip does not exist"
    put = await client.put(PATH, content=archive())
    assert (put.status_code, put.content) == (200, b"")
    there = await client.get(PATH)
    assert (there.status_code, there.content) == (200, b"")


@pytest.mark.parametrize("path", [f"{PATH}/", f"/p/default{PATH}", f"/p/default{PATH}/"])
async def test_both_forms_and_bases(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.put(path, content=archive())).status_code == 200
    assert (await client.get(path)).status_code == 200


async def test_a_body_without_a_length_is_taken_as_it_comes(client: httpx.AsyncClient) -> None:
    data = archive("x" * 5000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100):
            yield data[at : at + 100]

    assert (await client.put(PATH, content=pieces())).status_code == 200


async def test_other_mtimes_are_the_same_package_other_contents_a_409(client: httpx.AsyncClient) -> None:
    await client.put(PATH, content=archive())
    assert (await client.put(PATH, content=archive(second=8))).status_code == 200
    planted = await client.put(PATH, content=archive("import os"))
    assert planted.status_code == 409
    assert planted.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        (PATH, b"", 400),
        (PATH, archive()[:-10], 400),
        (PATH, b"x" * (MAX_PACKAGE + 1), 429),
        ("/api/packages/gcs/evil.zip", archive(), 400),
        ("/api/packages/s3/_ray_pkg_0123456789abcdef.zip", archive(), 400),
        ("/api/packages/gcs/_ray_pkg_0123456789abcdef.exe", archive(), 400),
        ("/api/packages/gcs/..%2f..%2fx.zip", archive(), 404),
    ],
)
async def test_what_is_no_package_is_refused_with_text(
    client: httpx.AsyncClient, path: str, data: bytes, status: int
) -> None:
    reply = await client.put(path, content=data)
    assert reply.status_code == status
    assert len(reply.text) > 5


async def test_a_viewer_does_not_upload_but_may_ask(client: httpx.AsyncClient, world: World) -> None:
    viewer = await world.bearer(Role.VIEWER)
    assert (await client.put(PATH, content=archive(), headers=viewer)).status_code == 403
    assert (await client.get(PATH, headers=viewer)).status_code == 404


async def test_a_package_belongs_to_its_project(client: httpx.AsyncClient) -> None:
    await client.put(f"/p/team-a{PATH}", content=archive())
    assert (await client.get(f"/p/team-b{PATH}")).status_code == 404
    assert (await client.put(f"/p/team-b{PATH}", content=archive("other"))).status_code == 200
