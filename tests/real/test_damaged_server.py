"""A server whose database is damaged ends by itself, says which file it is and what to do, and leaves no Ray behind."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from .kept_platform import kept

pytestmark = pytest.mark.ray


def damage(file: Path, table: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    with file.open("r+b") as whole:
        whole.seek((page - 1) * 4096)
        whole.write(b"\xa5" * 64)


def test_a_damaged_database_ends_the_server(tmp_path: Path) -> None:
    async def fill() -> None:
        async with kept(tmp_path / "data") as platform:
            await platform.fill()

    asyncio.run(fill())
    damage(tmp_path / "data" / "raysvc.db", "job")
    command = [sys.executable, "-m", "raysvc.cli", "up", "--port", "0", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 74, done.stderr
    *_, last = done.stderr.splitlines()
    for said in (f"{tmp_path}/data/raysvc.db is damaged", "raysvc restore"):
        assert said in last
    assert not (tmp_path / "data" / "server.json").exists()
    here = str(tmp_path)
    assert not [
        p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if here in " ".join(p.info["cmdline"] or [])
    ]
