"""`raysvc service plan` and its prices: worked out in this process, with a server only for its pools."""

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from raysvc.cli import service_plan
from raysvc.client.client import Client
from raysvc.domain.inventory import NewPool
from raysvc.domain.plan import Candidate
from raysvc.domain.pool import PoolSpec
from raysvc.errors import Invalid, Unavailable
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write
from tests.unit.sources.mirror import serving

Run = Callable[..., Result]
# What issue 6 promises of each candidate of `-o json`, in its order.
PROMISED = shlex.split(
    "fits gpu gpus tensor_parallel pipeline_parallel max_model_len max_num_seqs gpu_memory_utilization engine "
    "weights_gib_per_gpu activation_gib non_torch_gib kv_available_gib kv_bytes_per_token_per_gpu kv_tokens "
    "concurrency cold_start_s usd_per_hour usd_per_million_tokens confidence reasons"
)
BIG = "Qwen/Qwen3-32B"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file of prices and no endpoint of this machine's own."""
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path / "data"))
    for name in ("RAYSVC_PRICE_FILE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def unserved(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The CLI where no server answers."""
    monkeypatch.setenv("RAYSVC_URL", "http://127.0.0.1:1")
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", LLAMA, llama_tensors(), shards=2)


def candidates(found: Result) -> list[dict[str, object]]:
    data: list[dict[str, object]] = json.loads(found.stdout)["candidates"]
    return data


def test_every_promised_field_is_there_and_in_order(unserved: Run, folder: Path) -> None:
    found = unserved("service", "plan", str(folder), "-o", "json")
    for candidate in candidates(found):
        assert list(candidate)[: len(PROMISED)] == PROMISED
    assert list(Candidate.model_fields)[: len(PROMISED)] == PROMISED


def test_each_option_reaches_the_planner(unserved: Run, folder: Path) -> None:
    words = shlex.split(
        "--gpu L4 --gpus 2 --tensor-parallel 2 --pipeline-parallel 1 --max-model-len 1000 --max-num-seqs 64 "
        "--max-num-batched-tokens 4096 --gpu-memory-utilization 0.8 --kv-cache-dtype fp8 --enforce-eager "
        "--engine-version 0.19.0 --weights-bytes 5GiB --concurrency 8 --slo-ttft 2s --usd-per-gpu-hour 0.5"
    )
    (found,) = candidates(unserved("service", "plan", str(folder / "config.json"), *words, "-o", "json"))
    assert {name: found[name] for name in PROMISED[1:9]} == {
        "gpu": "L4-24",
        "gpus": 2,
        "tensor_parallel": 2,
        "pipeline_parallel": 1,
        "max_model_len": 1000,
        "max_num_seqs": 64,
        "gpu_memory_utilization": 0.8,
        "engine": "vllm 0.19.0",
    }
    assert found["weights_gib_per_gpu"] == pytest.approx(2.5, abs=0.05)  # vocabularies are padded
    assert found["max_num_batched_tokens"] == 4096
    assert found["usd_per_hour"] == 1.0
    assert found["meets"]
    flags = found["flags"]
    assert isinstance(flags, list)
    assert {"--enforce-eager", "--kv-cache-dtype=fp8"} <= set(flags)


def test_people_see_the_cheapest_that_meets_the_ask_marked_with_its_reasons(unserved: Run) -> None:
    found = unserved("service", "plan", BIG, "--concurrency", "16")
    data = json.loads(unserved("service", "plan", BIG, "--concurrency", "16", "-o", "json").stdout)
    best = data["candidates"][data["best"]]
    (row,) = (line for line in found.stdout.splitlines() if line.startswith("→ ") and "GiB" in line)
    assert best["sku"] in row
    assert all(reason in found.stdout for reason in best["reasons"])
    assert f"--max-model-len={best['max_model_len']}" in found.stdout
    assert f"and {len(data['candidates']) - 12} more" in found.stderr
    every = unserved("service", "plan", BIG, "--all").stdout
    assert every.count("GiB ") > 40
    meeting = [it["usd_per_million_tokens"] for it in data["candidates"] if it["meets"]]
    assert best["usd_per_million_tokens"] == min(meeting)


def test_stale_prices_are_said_to_be_stale(unserved: Run) -> None:
    found = unserved("service", "plan", BIG, "--gpu", "T4", "--tensor-parallel", "8")
    assert "stale" in found.stdout + found.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((BIG, "--gpu", "H100", "--tensor-parallel", "3"), 0, "tensor_parallel 3 does not divide 64 attention heads"),
        ((BIG, "--gpu", "H100", "--tensor-parallel", "1", "--max-model-len", "40960"), 0, "Nearest change: --max-"),
        ((BIG, "--gpu", "H1"), 3, "no GPU kind 'H1'"),
        ((BIG, "--gpu-memory-utilization", "1.2"), 3, "--gpu-memory-utilization: Input should be less"),
        ((BIG, "--kv-cache-dtype", "int3"), 3, "--kv-cache-dtype: Input should be"),
        ((BIG, "--slo-ttft", "0"), 3, "--slo-ttft: Input should be greater than 0"),
        ((BIG, "--weights-bytes", "lots"), 2, "not an amount of memory"),
        ((BIG, "--gpus", "2", "--tensor-parallel", "4"), 3, "more than 2 GPUs"),
        ((BIG, "--engine-version", "latest"), 3, "no vLLM version"),
        (("nobody/nothing",), 4, "no model 'nobody/nothing'"),
        (("ftp://example.com/x",), 3, "a model is a directory"),
        (("https://127.0.0.1:1/x",), 3, "not public (loopback)"),
        (("hf://../x",), 3, "hf://owner/name"),
        ((BIG, "--price-file", "/nowhere/prices.yaml"), 3, "cannot be read as a price table"),
    ],
)
def test_what_makes_no_sense_is_said(unserved: Run, words: tuple[str, ...], code: int, said: str) -> None:
    found = unserved("service", "plan", *words, code=code)
    assert said in " ".join((found.stdout + found.stderr).split())


def test_an_unknown_architecture_is_estimated_and_said_to_be(unserved: Run, tmp_path: Path) -> None:
    model = write(tmp_path / "odd", {**LLAMA, "model_type": "zebra", "architectures": ["Zebra"]}, llama_tensors())
    found = unserved("service", "plan", str(model), "--gpu", "L4")
    assert "'zebra' is not one this planner was checked against" in found.stdout
    data = candidates(unserved("service", "plan", str(model), "--gpu", "L4", "-o", "json"))
    assert {it["confidence"] for it in data} == {"low"}


def test_an_index_that_names_missing_files_is_said(unserved: Run, folder: Path) -> None:
    gone = min(folder.glob("*.safetensors"))
    gone.unlink()
    assert gone.name in unserved("service", "plan", str(folder), code=3).stderr


def test_a_model_of_hugging_face_is_read_from_the_endpoint_that_the_environment_names(
    unserved: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(folder) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        found = unserved("service", "plan", "hf://ann/tiny", "--gpu", "L4", "-o", "json")
        assert mirror.asked[0][1]["authorization"] == "Bearer hf_secret"
    assert json.loads(found.stdout)["model"]["name"] == "hf://ann/tiny"
    assert "hf_secret" not in found.output


def test_an_operators_prices_stand_in_for_the_catalogues(unserved: Run, tmp_path: Path) -> None:
    row = {
        "provider": "cellar",
        "sku": "old-iron",
        "gpu": "H200",
        "count": 1,
        "fabric": "none",
        "rdma": False,
        "usd_per_hour": 0.01,
        "region": "here",
        "as_of": f"{datetime.now(UTC):%Y-%m-%d}",
        "source": "us",
    }
    file = tmp_path / "prices.yaml"
    file.write_text(yaml.safe_dump({"skus": [row]}))
    data = json.loads(unserved("service", "plan", BIG, "--price-file", str(file), "-o", "json").stdout)
    assert data["candidates"][data["best"]]["sku"] == "old-iron"
    assert "old-iron" in unserved("service", "prices", "list", "--price-file", str(file), "-o", "id").stdout
    file.write_text(yaml.safe_dump({"skus": [{**row, "usd_per_hour": "cheap"}]}))
    assert "row 0.usd_per_hour" in unserved("service", "plan", BIG, "--price-file", str(file), code=3).stderr
    file.write_text("skus: [")
    assert "does not parse" in unserved("service", "plan", BIG, "--price-file", str(file), code=3).stderr


@pytest.fixture
def pool(client: Client) -> Iterator[str]:
    spec = PoolSpec.model_validate(
        {
            "selector": {"pool": "cellar"},
            "nodes": {"fixed": 2},
            "accelerator": {"name": "A100-80GB", "count": 4},
            "price_per_hour": 6,
        }
    )
    bare = PoolSpec.model_validate({"selector": {"pool": "cpu"}, "nodes": {"fixed": 2}})
    client.pools.apply([NewPool(name="cellar", spec=spec), NewPool(name="cpu", spec=bare)])
    yield "cellar"
    for name in ("cellar", "cpu"):
        client.pools.delete(name)


def test_a_pool_of_the_server_is_planned_on_with_its_own_price(run: Run, client: Client, pool: str) -> None:
    found = candidates(run("service", "plan", BIG, "--pool", pool, "-o", "json"))
    assert {(it["provider"], it["sku"], it["gpu"]) for it in found} == {("pool", "cellar", "A100-80")}
    assert {it["gpus"]: it["usd_per_hour"] for it in found}[2] == 3.0
    served = client.plans.plan(BIG, pool=pool)
    assert [it.model_dump(mode="json") for it in served.candidates] == found
    run("service", "plan", BIG, "--pool", "attic", code=4)
    assert "has no accelerator" in run("service", "plan", BIG, "--pool", "cpu", code=3).stderr


def test_the_server_answers_the_same_and_reads_no_disk_for_its_users(client: Client, run: Run, folder: Path) -> None:
    here = json.loads(run("service", "plan", BIG, "--gpu", "H100", "-o", "json").stdout)
    assert client.plans.plan(BIG, gpu="H100").model_dump(mode="json") == here
    # The tests' token is the platform's admin, whose disk it is.
    assert client.plans.plan(str(folder), gpu="L4").candidates[0].fits
    with pytest.raises(Invalid, match="not public"):
        client.plans.plan("https://127.0.0.1:1/x")


def test_azures_prices_are_asked_for_and_kept(unserved: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: object) -> Callable[[str], bytes]:
        item = {
            "armSkuName": "Standard_NC24ads_A100_v4",
            "armRegionName": "eastus",
            "productName": "NCads A100 v4 Series",
            "skuName": "NC24ads A100 v4",
            "meterName": "NC24ads A100 v4",
            "unitOfMeasure": "1 Hour",
            "type": "Consumption",
            "currencyCode": "USD",
            "retailPrice": 1.25,
            "effectiveStartDate": "2026-01-01T00:00:00Z",
            "isPrimaryMeterRegion": True,
        }
        return lambda _: json.dumps({"Items": [item], "NextPageLink": None}).encode()

    monkeypatch.setattr(service_plan, "body_fetcher", answer)
    told = unserved("service", "prices", "refresh")
    assert "1.25" in told.stdout
    assert str(tmp_path / "data" / "prices.yaml") in told.stderr.replace("\n", "")
    data = json.loads(unserved("service", "prices", "list", "-o", "json").stdout)
    (row,) = (row for row in data if row["sku"] == "Standard_NC24ads_A100_v4")
    assert (row["usd_per_hour"], row["as_of"]) == (1.25, f"{datetime.now(UTC):%Y-%m-%d}")
    assert len(data) > 40  # of other clouds, as before


def test_where_azure_does_not_answer_nothing_is_kept(
    unserved: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> Callable[[str], bytes]:
        def fetch(_: str) -> bytes:
            raise Unavailable("prices.azure.com cannot be reached: no route.")

        return fetch

    monkeypatch.setattr(service_plan, "body_fetcher", fail)
    assert "no route" in unserved("service", "prices", "refresh", code=5).stderr
    assert not (tmp_path / "data").exists()
