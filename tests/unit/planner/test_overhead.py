"""What a GPU holds beside weights and cache, and how releases differ in it."""

from dataclasses import replace

import pytest

from raysvc.errors import Invalid
from raysvc.planner import load_catalogue
from raysvc.planner.architecture import Architecture
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.engine import find_engine
from raysvc.planner.overhead import GIB, Batch, Overhead, graph_count, overhead
from raysvc.planner.weights import Split

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
BATCH = Batch(max_num_seqs=1024, tokens=8192, max_model_len=16_000)


def listed(name: str) -> Architecture:
    entry = load_catalogue().model(name)
    assert entry is not None
    return describe(Config(name, entry.config))


def worked_out(
    version: str, batch: Batch = BATCH, *, name: str = LLAMA, gpu: str = "H100-80", tp: int = 1, fast_links: bool = True
) -> Overhead:
    kind = load_catalogue().gpu(gpu)
    return overhead(listed(name), find_engine(version), kind, Split(tp), batch, fast_links=fast_links)


@pytest.mark.parametrize(
    ("version", "number", "since", "listed"),
    [
        ("0.29.0", "0.29.0", "0.29.0", True),
        ("v0.19", "0.19.0", "0.19.0", True),
        ("0.8.5.post1", "0.8.5", "0.8.0", True),
        ("0.10.1rc2", "0.10.1", "0.10.0", True),
        ("v0", "0.7.3", "0.6.6", True),
        ("v1", "0.10.2", "0.10.0", True),
        ("0.29.7", "0.29.7", "0.29.0", True),
        ("0.35.0", "0.35.0", "0.29.0", False),
        ("0.2.1", "0.2.1", "0.4.0", False),
    ],
)
def test_versions(version: str, number: str, since: str, listed: bool) -> None:
    engine = find_engine(version)

    assert (engine.version, engine.listed) == (number, listed)
    assert find_engine(since).release == engine.release


@pytest.mark.parametrize("version", ["latest", "", "29", "a.b.c", "0"])
def test_what_is_no_version_is_refused(version: str) -> None:
    if not version:
        assert find_engine(version) == find_engine(None)
        return
    with pytest.raises(Invalid, match="is no vLLM version") as refused:
        find_engine(version)
    assert refused.value.field == "engine_version"


@pytest.mark.parametrize(
    ("sequences", "sizes", "full"),
    [
        # vLLM logs both: `Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)` and `(decode, FULL)`
        (256, 51, 35),
        (1024, 51, 51),
        (32, 11, 7),
        (1, 2, 1),
    ],
)
def test_how_many_graphs_are_captured(sequences: int, sizes: int, full: int) -> None:
    gpu = load_catalogue().gpu("H100")
    batch = replace(BATCH, max_num_seqs=sequences)

    assert graph_count(gpu, listed(LLAMA), batch) == sizes + full


def test_blackwell_and_gpt_oss_capture_up_to_1024() -> None:
    catalogue = load_catalogue()
    hopper, blackwell = catalogue.gpu("H100"), catalogue.gpu("B200")

    assert graph_count(blackwell, listed(LLAMA), BATCH) == graph_count(hopper, listed("openai/gpt-oss-20b"), BATCH)
    assert graph_count(blackwell, listed(LLAMA), BATCH) > graph_count(hopper, listed(LLAMA), BATCH)


def test_graphs_count_from_the_release_that_takes_them_off() -> None:
    assert worked_out("0.20.0").graphs == 0
    assert worked_out("0.29.0").graphs / GIB == pytest.approx(0.84, abs=0.02)
    assert worked_out("0.29.0", replace(BATCH, eager=True)).graphs == 0


def test_sampling_by_sorting_takes_38_bytes_an_entry_by_rejection_little() -> None:
    rows = 1024 * 128_256
    sorting, flashinfer, v2 = (worked_out(version).last for version in ("0.10.2", "0.11.0", "0.29.0"))

    assert sorting == pytest.approx(38.3 * rows, rel=0.02)
    assert flashinfer == pytest.approx(14 * rows, rel=0.05)
    assert v2 < flashinfer


def test_more_sequences_take_more_and_more_ranks_do_not_take_less() -> None:
    fewer = worked_out("0.10.2", replace(BATCH, max_num_seqs=256))

    assert worked_out("0.10.2").last > 2 * fewer.last
    assert worked_out("0.10.2", tp=2).last == worked_out("0.10.2").last
    assert worked_out("0.10.2").before < worked_out("0.10.2").last  # stages before the last sample nothing


def test_the_forward_pass_is_the_peak_where_many_tokens_meet_few_sequences() -> None:
    batch = Batch(max_num_seqs=8, tokens=32_768, max_model_len=32_768)
    found = worked_out("0.10.2", batch)

    assert found.last == found.before
    assert worked_out("0.10.2", batch, tp=2).last < found.last


def test_memory_that_torch_does_not_see_depends_on_links() -> None:
    gib = {
        (tp, fast): worked_out("0.10.2", tp=tp, fast_links=fast).non_torch / GIB
        for tp in (1, 2, 4, 8)
        for fast in (True, False)
    }

    assert gib[1, True] == gib[1, False] == pytest.approx(0.13)
    assert gib[2, True] == pytest.approx(0.55)
    assert gib[2, False] == pytest.approx(0.22)
    assert gib[2, True] < gib[4, True] < gib[8, True]


def test_an_old_gpu_is_served_by_v0_until_011() -> None:
    volta, hopper = load_catalogue().gpu("V100-32"), load_catalogue().gpu("H100")

    assert find_engine("0.10.2").on(volta).runner == "v0"
    assert find_engine("0.10.2").on(hopper).runner == "v1"
    assert find_engine("0.11.0").on(volta).runner == "v1"


def test_defaults_follow_the_gpu() -> None:
    catalogue, release = load_catalogue(), find_engine("0.29.0").release

    assert [release.default_seqs(catalogue.gpu(kind)) for kind in ("H100", "A100-80", "L4")] == [1024, 256, 256]
    assert [release.default_tokens(catalogue.gpu(kind), 4096) for kind in ("H100", "L4")] == [8192, 2048]
    assert find_engine("v0").release.default_tokens(catalogue.gpu("L4"), 16_000) == 16_000
    assert find_engine("v0").release.default_tokens(catalogue.gpu("L4"), 131_072) == 2048


def test_a_drafters_rows_are_counted() -> None:
    drafting = replace(BATCH, speculative=7)

    assert worked_out("0.29.0").last < 8 * 1024 * 128_256 * 2 < worked_out("0.29.0", drafting).last


def test_a_latent_cache_has_a_workspace() -> None:
    short = Batch(max_num_seqs=8, tokens=2048, max_model_len=2048)
    long = replace(short, max_model_len=131_072)
    name = "deepseek-ai/DeepSeek-R1"

    assert worked_out("0.29.0", long, name=name, tp=8).before > worked_out("0.29.0", short, name=name, tp=8).before
