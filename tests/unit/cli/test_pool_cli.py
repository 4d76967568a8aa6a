"""`raysvc pool` and `raysvc node`, against the real API."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import Result

from raysvc.cli import pool as command
from raysvc.client.client import Client
from raysvc.domain.node import OsFacts
from raysvc.domain.placement import Placement
from raysvc.domain.pool import Discovery, PoolSpec, Proposal
from raysvc.testing.backend import FakeBackend
from tests.unit.control.ground import node, system_node

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Site

Run = Callable[..., Result]
POOLS = """
pools:
- name: gpu
  spec:
    selector: {pool: gpu}
    nodes: {fixed: 2}
    accelerator: {name: H100, count: 8}
    price_per_hour: 32.5
- name: system
  spec:
    selector: {pool: system}
    node_class: system
    nodes: {min: 1, max: 3}
    node: {cpus: 8, memory: 34359738368}
"""


@pytest.fixture
def backend(site: "Site", client: Client) -> Iterator[FakeBackend]:
    backend = site.platform.backend
    assert isinstance(backend, FakeBackend)
    backend.machines = [node("gpu-1", os=OsFacts(driver="570.1")), node("gpu-2", used=8), system_node()]
    yield backend
    backend.machines = []
    for pool in client.pools.list():
        client.pools.delete(pool.name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pools.yaml"
    path.write_text(POOLS)
    return path


def job(folder: Path, want: int) -> str:
    path = folder / "job.yaml"
    workers = {"scale": {"want": want, "max": want}, "resources": {"gpus": 8}, "topology": "nvlink-domain"}
    path.write_text(yaml.safe_dump({"entrypoint": "x", "shape": {"workers": [workers]}}))
    return str(path)


@pytest.mark.usefixtures("backend")
def test_pools_are_applied_listed_shown_and_deleted(run: Run, client: Client, file: Path) -> None:
    shown = yaml.safe_load(run("pool", "apply", "-f", str(file), "--dry-run").stdout)
    assert (shown["method"], shown["path"], shown["body"]) == ("POST", "/v1/pools", yaml.safe_load(POOLS))
    assert client.pools.list() == []
    assert run("pool", "apply", "-f", str(file), "-o", "id").stdout.split() == ["gpu", "system"]
    listed = run("pool", "list").stdout
    assert "8 × H100" in listed
    assert "$32.5/h" in listed
    assert "1 to 3" in listed
    assert "2/2" in listed
    details = run("pool", "get", "gpu").stdout
    assert "pool=gpu" in details
    assert "every project" in details
    assert json.loads(run("pool", "get", "gpu", "-o", "json").stdout)["usable"] == 2
    assert yaml.safe_load(run("pool", "delete", "gpu", "--dry-run").stdout)["path"] == "/v1/pools/gpu"
    run("pool", "delete", "gpu")
    assert [pool.name for pool in client.pools.list()] == ["system"]
    run("pool", "delete", "gpu", code=4)
    run("pool", "get", "gpu", code=4)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("{fixed: 2}", "{min: 3, max: 2}", ":6: pools.0.spec.nodes: min <= max does not hold for 3, 2"),
        ("name: H100", "name: H1", ":7: pools.0.spec.accelerator: H1 is not in the catalogue"),
        ("count: 8", "count: many", ":7: pools.0.spec.accelerator.count: Input should be a valid integer"),
        ("price_per_hour", "price", ":8: pools.0.spec.price: there is no such field"),
        ("pools:", "pool:", ":2: pool: there is no such field; did you mean pools?"),
        (POOLS, "- x", ": a pool file is a mapping with a list `pools`"),
    ],
)
def test_a_mistake_in_a_file_is_said_by_line_and_path(
    run: Run, client: Client, file: Path, before: str, after: str, said: str
) -> None:
    file.write_text(POOLS.replace(before, after))
    refused = run("pool", "apply", "-f", str(file), code=3).stderr
    assert f"{file.name}{said}" in refused.replace("\n", " ").replace("  ", " ")
    assert client.pools.list() == []


@pytest.mark.usefixtures("backend")
def test_a_job_is_told_where_it_would_go_or_why_not(run: Run, file: Path, tmp_path: Path) -> None:
    run("pool", "apply", "-f", str(file))
    fits = run("pool", "fit", "-f", job(tmp_path, 1)).stdout.splitlines()
    assert fits == ["workers: pool gpu in one NVLink domain (gpu-1): gpu-1 (1)", "head: pool system: sys-1"]
    no = run("pool", "fit", "-f", job(tmp_path, 2), code=3).stdout.splitlines()
    assert no == [
        "No pool has room for group 'workers' (2 of 8 GPUs each), not even when idle.",
        "  gpu: no NVLink domain is large enough for all 2: the largest, gpu-1, holds 1.",
        "Nearest: 1 worker of 8 GPUs would fit now, on gpu.",
    ]
    data = json.loads(run("pool", "fit", "-f", job(tmp_path, 2), "-o", "json", code=3).stdout)
    assert data["refusal"]["pools"][0]["code"] == "DOMAIN"
    new = run("pool", "fit", "-f", job(tmp_path, 0)).stdout
    assert "no worker at first" in new


@pytest.mark.usefixtures("backend")
def test_a_node_is_kept_from_work_and_released(run: Run, client: Client, file: Path) -> None:
    run("pool", "apply", "-f", str(file))
    shown = yaml.safe_load(run("node", "quarantine", "gpu-1", "--reason", "XID 79", "--dry-run").stdout)
    assert (shown["method"], shown["path"]) == ("PUT", "/v1/nodes/gpu-1/quarantine")
    assert client.nodes.list()[0].usable
    assert "XID 79" in run("node", "quarantine", "gpu-1", "--reason", "XID 79").stdout
    listed = run("node", "list").stdout
    assert "quarantined: XID 79" in listed
    assert "570.1" in listed
    assert "8/8" in listed
    assert "gpu-1: XID 79" in run("pool", "get", "gpu").stdout
    run("node", "quarantine", "nowhere", "--reason", "x", code=4)
    run("node", "quarantine", "gpu-1", code=2)
    run("node", "release", "gpu-1", "--dry-run")
    assert not client.nodes.list()[0].usable
    run("node", "release", "gpu-1")
    assert client.nodes.list()[0].usable


def test_what_is_discovered_is_a_file_to_apply(
    run: Run, client: Client, backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[dict[str, Any]] = [pool["spec"] for pool in yaml.safe_load(POOLS)["pools"]]
    suggested = [
        Proposal(name=name, spec=PoolSpec.model_validate(spec), nodes=2, notes=("look here",))
        for name, spec in zip(("gpu", "system"), specs, strict=True)
    ]

    async def discover() -> Discovery:
        return Discovery(pools=tuple(suggested), left=("lone: no label tells its pool",))

    monkeypatch.setattr(backend, "discover", discover)
    found = run("pool", "discover")
    assert "gpu: look here." in found.stderr
    assert "Left out: lone: no label tells its pool." in found.stderr
    (tmp_path / "found.yaml").write_text(found.stdout)
    run("pool", "apply", "-f", str(tmp_path / "found.yaml"))
    assert {pool.name: pool.spec for pool in client.pools.list()} == {it.name: it.spec for it in suggested}
    assert "8 × H100" in run("pool", "discover", "-o", "table").stdout
    assert run("pool", "discover", "-o", "id").stdout.split() == ["gpu", "system"]


def test_new_nodes_are_said_to_be_new() -> None:
    placement = Placement.model_validate(
        {
            "groups": [{"group": "w", "pool": "p", "nodes": {"a": 2}, "new_nodes": 3}],
            "head_pool": "s",
            "head_node": None,
        }
    )
    assert command._where(placement, {"w": ""}) == ["w: pool p: a (2), 3 new", "head: pool s: a new node"]  # noqa: SLF001
