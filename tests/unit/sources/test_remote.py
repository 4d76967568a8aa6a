"""Models behind URLs: read by ranges from a real server, with few requests, whatever that server makes of them."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raysvc.domain.plan import PlanRequest
from raysvc.errors import Invalid, NotFound, Unavailable
from raysvc.planner import plan
from raysvc.planner.safetensors import INDEX
from raysvc.sources.access import Access, access_of
from raysvc.sources.fetch import Fetcher, Limits
from raysvc.sources.remote import RemoteSource, fetcher_of, remote_source
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write
from tests.unit.sources.mirror import Answer, Mirror, serving

MODEL = "hf://ann/tiny"
SHARDS = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny", LLAMA, llama_tensors(), shards=SHARDS)


def access(mirror: Mirror, **given: str) -> Access:
    return access_of({"HF_ENDPOINT": mirror.url, **given}, credentials=True)


def opened(mirror: Mirror, fetcher: Fetcher, model: str = MODEL, **given: str) -> RemoteSource:
    return remote_source(model, access(mirror, **given), fetcher, lambda: datetime.now(UTC))


@pytest.fixture
def fetcher_for() -> Iterator[Callable[[Mirror], Fetcher]]:
    made: list[Fetcher] = []

    def make(mirror: Mirror, limits: Limits | None = None) -> Fetcher:
        made.append(Fetcher(trusted=frozenset({mirror.place}), limits=limits, sleep=lambda _: None))
        return made[-1]

    yield make
    for fetcher in made:
        fetcher.close()


def test_a_remote_model_is_planned_as_the_same_model_on_disk(folder: Path) -> None:
    with serving(folder) as mirror, fetcher_of(access(mirror)) as fetcher:
        request = PlanRequest(model=MODEL, gpu="H100", tensor_parallel=1)
        remote = plan(request, reader=lambda _: opened(mirror, fetcher))
        asked = [path for path, _ in mirror.asked]
    local = plan(PlanRequest(model=str(folder), gpu="H100", tensor_parallel=1))
    same = {"cold_start_s": 0}  # a remote model is downloaded first
    assert remote.candidates[0].model_copy(update=same) == local.candidates[0].model_copy(update=same)
    assert remote.candidates[0].cold_start_s >= local.candidates[0].cold_start_s
    names = [path.name for path in folder.iterdir()]
    # One request each for the config, the index and every shard, and no weights.
    assert sorted(asked) == sorted({f"/ann/tiny/resolve/main/{name}" for name in names})


def test_a_revision_is_asked_for_and_a_token_goes_to_the_endpoint(folder: Path) -> None:
    with serving(folder) as mirror, fetcher_of(access(mirror)) as fetcher:
        source = opened(mirror, fetcher, "hf://ann/tiny@refs/pr/7", HF_TOKEN="hf_secret")
        assert source.size("config.json") == (folder / "config.json").stat().st_size
        path, headers = mirror.asked[0]
        assert path == "/ann/tiny/resolve/refs%2Fpr%2F7/config.json"
        assert headers["authorization"] == "Bearer hf_secret"
        assert headers["host"] == mirror.place


def test_redirects_lead_to_a_cdn_without_the_token(folder: Path) -> None:
    with serving(folder) as cdn:

        def away(path: str, _: Mapping[str, str]) -> Answer:
            return 302, {"Location": f"{cdn.url}/blob/{path.rpartition('/')[2]}?signed=1#x"}, b""

        with (
            serving(folder, away) as mirror,
            Fetcher(trusted=frozenset({mirror.place, cdn.place})) as fetcher,
        ):
            source = opened(mirror, fetcher, HF_TOKEN="hf_secret")
            assert source.size("config.json") == (folder / "config.json").stat().st_size
            assert "authorization" in mirror.asked[0][1]
            assert [path for path, _ in cdn.asked] == ["/blob/config.json?signed=1"]
            assert "authorization" not in cdn.asked[0][1]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://localhost:1/x", "loopback"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("http://example.com/x", "https alone"),
        ("file:///etc/passwd", "https alone"),
        ("//[::1]:1/x", "https alone"),
        ("/again", "more than 5 times"),
        ("", "leads nowhere"),
    ],
)
def test_redirects_to_where_nobody_should_go_are_refused(
    folder: Path, fetcher_for: Callable[[Mirror], Fetcher], location: str, said: str
) -> None:
    headers = {"Location": location} if location else {}
    with serving(folder, lambda _path, _headers: (307, headers, b"")) as mirror:
        source = opened(mirror, fetcher_for(mirror))
        with pytest.raises(Invalid, match=said):
            source.size("config.json")


def test_a_server_without_ranges_is_read_from_the_beginning(
    folder: Path, fetcher_for: Callable[[Mirror], Fetcher]
) -> None:
    large = folder / "large.bin"
    large.write_bytes(bytes(range(256)) * 2000)

    def whole(path: str, _: Mapping[str, str]) -> Answer:
        return 200, {}, (folder / path.rpartition("/")[2]).read_bytes()

    with serving(folder, whole) as mirror:
        source = opened(mirror, fetcher_for(mirror))
        assert source.read("config.json", offset=0, length=1 << 20) == (folder / "config.json").read_bytes()
        assert source.size("large.bin") == 512_000
        assert source.read("large.bin", offset=300_001, length=5) == large.read_bytes()[300_001:300_006]
        assert source.read("large.bin", offset=511_999, length=500) == large.read_bytes()[511_999:]


def test_ranges_beyond_the_beginning_are_asked_for(folder: Path, fetcher_for: Callable[[Mirror], Fetcher]) -> None:
    large = folder / "large.bin"
    large.write_bytes(bytes(range(256)) * 2000)
    with serving(folder) as mirror:
        source = opened(mirror, fetcher_for(mirror))
        assert source.read("large.bin", offset=300_001, length=5) == large.read_bytes()[300_001:300_006]
        assert [headers["range"] for _, headers in mirror.asked] == ["bytes=0-131071", "bytes=300001-300005"]
        (folder / "empty.bin").touch()
        assert source.size("empty.bin") == 0
        assert source.size("absent.bin") is None
        with pytest.raises(NotFound, match=r"absent\.bin"):
            source.read("absent.bin", offset=0, length=1)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((206, {"Content-Range": "bytes 8-99/100"}, b"x" * 92), Invalid, "other bytes"),
        ((206, {"Content-Range": "bytes */100"}, b"x" * 100), Invalid, "other bytes"),
        ((206, {"Content-Range": "lines 0-99/100"}, b"x" * 100), Invalid, "other bytes"),
        ((206, {}, b"x" * 100), Invalid, "other bytes"),
        ((206, {"Content-Range": "bytes 0-99/100"}, b"x" * 60), Unavailable, "60 bytes of 100"),
        ((206, {"Content-Range": "bytes 0-99/100", "Content-Length": "100"}, b"x" * 60), Unavailable, "127"),
        ((206, {"Content-Range": "bytes 0-99/*"}, b"x" * 100), Invalid, "does not say how large"),
        ((200, {"Content-Encoding": "gzip"}, b"x"), Invalid, "compresses"),
        ((401, {}, b""), Invalid, "HF_TOKEN"),
        ((403, {}, b""), Invalid, "HF_TOKEN"),
        ((410, {}, b""), Invalid, "status 410"),
        ((503, {}, b""), Unavailable, "status 503"),
        ((429, {}, b""), Unavailable, "status 429"),
    ],
)
def test_what_is_not_what_was_asked_for_is_not_believed(
    folder: Path, fetcher_for: Callable[[Mirror], Fetcher], answer: Answer, error: type[Exception], said: str
) -> None:
    def behave(_path: str, _headers: Mapping[str, str]) -> Answer:
        status, headers, body = answer
        return status, {**headers, "Connection": "close"}, body

    with serving(folder, behave) as mirror:
        source = opened(mirror, fetcher_for(mirror))
        with pytest.raises(error, match=said):
            source.size("config.json")
        assert len(mirror.asked) == (3 if error is Unavailable else 1)


def test_a_passing_failure_is_tried_again(folder: Path, fetcher_for: Callable[[Mirror], Fetcher]) -> None:
    failures: list[Answer] = [(503, {}, b""), (502, {}, b"")]

    def behave(_path: str, _headers: Mapping[str, str]) -> Answer | None:
        return failures.pop() if failures else None

    with serving(folder, behave) as mirror:
        assert opened(mirror, fetcher_for(mirror)).size("config.json")
        assert len(mirror.asked) == 3


def test_a_header_that_claims_more_than_there_is_is_an_unfinished_download(folder: Path) -> None:
    shard = next(folder.glob("*.safetensors"))
    shard.write_bytes((1 << 20).to_bytes(8, "little") + b'{"a":')
    with (
        serving(folder) as mirror,
        fetcher_of(access(mirror)) as fetcher,
        pytest.raises(Invalid, match="ends inside its header"),
    ):
        plan(PlanRequest(model=MODEL, gpu="H100"), reader=lambda _: opened(mirror, fetcher))


def test_a_server_that_sends_without_end_is_left(folder: Path) -> None:
    endless = folder / INDEX
    with endless.open("wb") as file:
        file.truncate(60 << 20)
    with serving(folder) as mirror:
        limits = Limits(nbytes=1 << 20)
        with Fetcher(trusted=frozenset({mirror.place}), limits=limits) as fetcher:
            source = opened(mirror, fetcher)
            with pytest.raises(Invalid, match="more than 1 MiB"):
                source.read(INDEX, offset=0, length=60 << 20)


def test_missing_shards_are_named(folder: Path) -> None:
    gone = sorted(folder.glob("*.safetensors"))[3]
    gone.unlink()
    with (
        serving(folder) as mirror,
        fetcher_of(access(mirror)) as fetcher,
        pytest.raises(Invalid, match=f"1 of {SHARDS} files that are not there: {gone.name}"),
    ):
        plan(PlanRequest(model=MODEL, gpu="H100"), reader=lambda _: opened(mirror, fetcher))


def test_a_file_that_changes_while_it_is_read_is_said(folder: Path, fetcher_for: Callable[[Mirror], Fetcher]) -> None:
    large = folder / "large.bin"
    large.write_bytes(b"x" * 300_000)
    with serving(folder) as mirror:
        source = opened(mirror, fetcher_for(mirror))
        assert source.size("large.bin") == 300_000
        large.write_bytes(b"y" * 400_000)
        with pytest.raises(Invalid, match="changed while it was read"):
            source.read("large.bin", offset=200_000, length=10)


@pytest.mark.parametrize(
    "model",
    [
        "hf://",
        "hf://../../etc",
        "hf://ann/../bob",
        "hf://ann/tiny/extra/parts",
        "hf://ann/tiny@",
        "hf://ann tiny",
        "hf://ann/tiny?x=1",
        "s3://",
        "s3://Bucket/x",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "https://",
        "https://user:word@example.com/x",
        "https://example.com/x?token=1",
        "https://example.com/x#y",
        "https://example.com/a/../../b",
    ],
)
def test_a_url_that_is_none_is_refused_before_anything_is_asked(model: str) -> None:
    with Fetcher() as fetcher, pytest.raises(Invalid) as refused:
        remote_source(model, Access(), fetcher, lambda: datetime.now(UTC))
    assert "word" not in str(refused.value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".git", "x?y", "", "a\n"])
def test_a_file_name_that_leaves_the_model_is_refused(name: str) -> None:
    with Fetcher() as fetcher, pytest.raises(Invalid, match="no file name"):
        RemoteSource("m", "https://example.com", fetcher).size(name)
