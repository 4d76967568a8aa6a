"""What is chosen where an operator says nothing, and what a cluster is said to have."""

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from raysvc.backends.local.clusters import total, used
from raysvc.backends.local.config import LocalConfig, available_memory, job_limit, object_store
from raysvc.backends.local.confine import USERS, confine
from raysvc.domain.resources import Resources

GIB = 1 << 30
for_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses another user")


@pytest.mark.parametrize(
    ("cores", "memory", "limit"),
    [(1, 64 * GIB, 2), (2, 4 * GIB, 4), (2, GIB, 2), (64, 512 * GIB, 8), (8, 100 << 20, 1)],
)
def test_jobs_are_limited_by_cores_and_memory_and_to_eight(cores: int, memory: int, limit: int) -> None:
    assert job_limit(cores, memory) == limit


def test_the_object_store_is_modest() -> None:
    assert object_store(GIB) == 256 << 20
    assert object_store(10 * GIB) == GIB
    assert object_store(1024 * GIB) == 2 * GIB


def test_what_an_operator_says_counts(tmp_path: Path) -> None:
    config = LocalConfig(data_dir=tmp_path, max_running_jobs=30, object_store_memory=123)
    assert (config.job_limit, config.object_store) == (30, 123)


def test_in_a_container_its_own_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysvc.backends.local.config._CGROUP", tmp_path)
    machine = available_memory()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("600000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 100000\n")
    assert available_memory() == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > machine // 2


def test_resources_of_all_nodes_are_added_up() -> None:
    nodes = [
        {"resources_total": {"CPU": 2.0, "memory": 100.0, "object_store_memory": 5.0, "node:10.0.0.1": 1.0}},
        {"resources_total": {"CPU": 4.0, "GPU": 1.0, "memory": 50.0, "licence": 3.0}},
    ]
    assert total(nodes) == Resources(cpus=6, gpus=1, memory=150, custom={"licence": 3})


def test_what_is_in_use_is_read_from_rays_text() -> None:
    text = "1.5/2.0 CPU (1.0 used of 1.0 reserved in placement groups)\n0.0/1.0 GPU\n512.00MiB/21.47GiB memory\n"
    node = "0B/190.73MiB object_store_memory\n1.0/3.0 licence\n(no usage)\n"
    assert used({"a": text, "b": node, "c": "0.25/4.0 CPU"}) == Resources(
        cpus=1.75, memory=512 << 20, custom={"licence": 1}
    )
    assert used({}) == Resources()


@for_root
def test_root_hands_jobs_to_somebody_else(tmp_path: Path) -> None:
    chosen = confine(LocalConfig(data_dir=tmp_path))
    assert chosen.user
    assert pwd.getpwnam(chosen.user).pw_uid != 0
    assert chosen.warning is None
    assert confine(LocalConfig(data_dir=tmp_path)).area.root == chosen.area.root


@for_root
def test_root_says_so_where_jobs_run_as_root(tmp_path: Path) -> None:
    chosen = confine(LocalConfig(data_dir=tmp_path, job_user="root"))
    assert chosen.user is None
    assert chosen.warning
    assert "root" in chosen.warning


def interpreter_is_open() -> bool:
    """Return whether every folder on the way to this Python lets other users pass."""
    homes = {Path(sys.executable).parent.absolute(), Path(sys.executable).resolve().parent}
    return all(folder.stat().st_mode & stat.S_IXOTH for home in homes for folder in (home, *home.parents))


# A root without CAP_SYS_ADMIN (21), as in most containers: what it starts may not unshare.
CONTAINED = """
import ctypes, sys
from pathlib import Path
from raysvc.backends.local import LocalConfig, confine
PR_CAPBSET_DROP = 24
assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, 21, 0, 0, 0) == 0
confine.OUTSIDE = Path(sys.argv[2])
chosen = confine.confine(LocalConfig(data_dir=Path(sys.argv[1])))
chosen.area.job("0" * 16)
print(chosen.user, chosen.area.root, len(chosen.expose), chosen.warning)
"""


@for_root
@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_where_namespaces_are_not_allowed_the_area_lies_outside(tmp_path: Path) -> None:
    data_dir = tmp_path / "closed"
    data_dir.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as outside:
        Path(outside).chmod(0o755)
        command = [sys.executable, "-c", CONTAINED, str(data_dir), outside]
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            user, root, exposed, warning = done.stdout.split(maxsplit=3)
            if not interpreter_is_open():  # a Python below /root, say: nobody else can run it, and that is said
                assert user == "None"
                assert "root" in warning
                continue
            assert user in USERS
            assert Path(root).parent == Path(outside)
            assert (data_dir / "work").resolve() == Path(root)
            assert (exposed, warning.strip()) == ("0", "None")
