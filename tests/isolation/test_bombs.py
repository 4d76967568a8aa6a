"""Small requests that would cost the server much: archives that unfold, JSON that nests, repeats and overflows."""

import asyncio
import gzip
import io
import lzma
import tarfile
import zipfile
from time import process_time

import pytest

from tests.isolation.place import Place
from tests.isolation.tenant import Tenant

_JSON = {"Content-Type": "application/json"}


def bombs() -> dict[str, bytes]:
    """Return archives that are small and unfold to far more than they say."""
    zeros = b"\0" * (1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w", force_zip64=True) as entry:
        for _ in range(80):
            entry.write(zeros)
    member = tarfile.TarInfo("a")
    member.size = 1 << 40
    header = member.tobuf()
    return {
        "_ray_pkg_0123456789abcde1.zip": out.getvalue(),
        f"{'1' * 40}.tar.gz": gzip.compress(header + zeros * 80, 6),
        f"{'2' * 40}.tar.xz": lzma.compress(header + zeros * 80, preset=0),
    }


async def test_a_bomb_is_refused_and_others_are_served_meanwhile(place: Place, alice: Tenant, mallory: Tenant) -> None:
    before = await place.state()
    for name, bomb in bombs().items():
        upload = asyncio.create_task(mallory.upload(bomb, name))
        while not upload.done():
            assert (await alice.ask("GET", "/v1/whoami")).status_code == 200
            await asyncio.sleep(0.02)  # a poll: the archive is read in a thread
        assert (upload.result().status_code, "times its size" in upload.result().text) == (400, True), name
    assert await place.state() == before


def _spec(inner: str) -> str:
    return '{"spec":{"entrypoint":"x",' + inner + "}}"


JSON_BOMBS = {
    "nested arrays": _spec('"runtime_env":{"a":' + "[" * 200_000 + "]" * 200_000 + "}"),
    "nested objects": _spec('"runtime_env":' + '{"a":' * 100_000 + "1" + "}" * 100_000),
    "nested past ours": _spec('"runtime_env":{"a":' + "[" * 100 + "]" * 100 + "}"),
    "a huge integer": _spec('"priority":' + "9" * 1_000_000),
    "a huge exponent": _spec('"timeout_s":1e999999999'),
    "NaN": _spec('"timeout_s":NaN'),
    "-Infinity": _spec('"timeout_s":-Infinity'),
    "unknown names": _spec(",".join(f'"entrypoin{i}":1' for i in range(60_000))),
    "wrong labels": _spec('"labels":{' + ",".join(f'"k{i}":1' for i in range(60_000)) + "}"),
    "labels": _spec('"labels":{' + ",".join(f'"k{i}":"v"' for i in range(60_000)) + "}"),
    "worker groups": _spec(
        '"shape":{"workers":[' + ",".join(f'{{"resources":{{"custom":{{"a{i}":1}}}}}}' for i in range(40_000)) + "]}"
    ),
    "a long name": _spec(f'"{"n" * 1_000_000}":1'),
    "a long label": _spec(f'"labels":{{"a":"{"v" * 1_000_000}"}}'),
    "a lone surrogate": _spec('"name":"\\ud800"'),
    "a byte order mark": "\ufeff" + _spec('"priority":1'),
}


@pytest.mark.parametrize("name", JSON_BOMBS)
async def test_a_body_made_to_hurt_is_refused_at_little_cost(place: Place, mallory: Tenant, name: str) -> None:
    before, began = await place.state(), process_time()
    reply = await mallory.ask("POST", "/v1/jobs", content=JSON_BOMBS[name].encode(), headers=_JSON)
    spent = process_time() - began
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid"), reply.text[:300]
    assert len(reply.content) < 20_000
    # 2 MiB parsed, validated and refused takes 0.1 s, and some seconds on a crowded machine; what grew with the square
    # took minutes.
    assert spent < 30, f"{name} took {spent:.1f} s of the processor"
    assert await place.state() == before
