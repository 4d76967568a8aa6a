from pathlib import Path

import pyarrow as pa
import pytest
from batch_infer.complete import encode
from batch_infer.prompts import BUILT_IN, cut, read_prompts
from pyarrow import parquet
from train_lm.errors import UsageProblem

PROMPTS = ["one", "two\u2028too", "drei é"]


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl", "p.parquet"])
def test_prompts_are_read_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    match path.suffix:
        case ".txt":
            path.write_text("\n\n".join(PROMPTS) + "\n")
        case ".jsonl":
            path.write_bytes(encode([{"prompt": prompt, "more": 1} for prompt in PROMPTS], "jsonl"))
        case ".parquet":
            parquet.write_table(pa.table({"prompt": PROMPTS, "more": [1, 2, 3]}), path)
    assert read_prompts(str(path)) == PROMPTS


def test_there_are_prompts_built_in() -> None:
    assert len(read_prompts(BUILT_IN)) == 12


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.txt", None, "cannot be read"),
        ("empty.txt", b"\n\n", "holds no prompt"),
        ("latin.txt", b"caf\xe9", "cannot be read"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "b"}\n', r"p.jsonl:2 is not a JSON object with 'prompt'"),
        ("p.jsonl", b'["a"]\n', r"p.jsonl:1 is not"),
        ("p.jsonl", b'{"prompt": 7}\n', "prompt 0 .* is not a text"),
        ("p.parquet", b"PAR1 no", "cannot be read"),
    ],
)
def test_what_is_not_prompts_is_refused(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageProblem, match=says):
        read_prompts(str(tmp_path / name))


def test_a_parquet_file_without_prompts_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_prompts(str(tmp_path / "p.parquet"))


def test_shards_hold_every_prompt_once() -> None:
    shards = cut([str(n) for n in range(10)], 4)
    assert [(shard["shard"], shard["first"]) for shard in shards] == [(0, 0), (1, 4), (2, 8)]
    assert [prompt for shard in shards for prompt in shard["prompts"]] == [str(n) for n in range(10)]
