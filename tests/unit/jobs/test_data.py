import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from train_lm.data import Corpus, Prepared, encode, prepare, read_documents, train_tokenizer
from train_lm.errors import UsageProblem

TOKENS = np.arange(1000, dtype=np.uint32)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["The quick brown fox jumps over the lazy dog. " * 20], 300)


@given(text=st.text())
def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_learns_the_words_of_its_text(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode(" brown").ids) == 1


def test_the_same_text_gives_the_same_tokenizer() -> None:
    documents = read_documents("pydoc")[:20]
    assert train_tokenizer(documents, 600).to_str() == train_tokenizer(documents, 600).to_str()


def test_a_vocabulary_without_room_for_every_byte_is_refused() -> None:
    with pytest.raises(UsageProblem, match="at least 258"):
        train_tokenizer(["text"], 200)


def test_each_document_begins_with_the_end_of_text(tokenizer: Tokenizer) -> None:
    assert list(encode(tokenizer, ["", "dog"]))[:2] == [0, 0]


def test_pythons_documentation_is_some_real_text(prepared: Prepared) -> None:
    assert prepared.documents >= 70
    assert prepared.characters > 300_000
    assert len(prepared.tokens) < prepared.characters / 2


def test_targets_are_the_inputs_moved_by_one() -> None:
    sequence = Corpus(TOKENS, context=8, seed=0).sequences(0, 1)[0]
    assert sequence.shape == (9,)
    assert torch.equal(sequence, torch.arange(int(sequence[0]), int(sequence[0]) + 9))


def test_a_sequence_depends_on_its_position_only() -> None:
    one, other = Corpus(TOKENS, context=8, seed=3), Corpus(TOKENS, context=8, seed=3)
    far = 3 * one.windows + 5  # some epochs on
    expected = one.sequences(0, far + 4)
    pieces = [other.sequences(far, 4), *(other.sequences(at, 1) for at in range(20))]
    assert torch.equal(pieces[0], expected[far:])
    assert torch.equal(torch.cat(pieces[1:]), expected[:20])


def test_an_epoch_takes_every_window_once_and_the_next_takes_others() -> None:
    corpus = Corpus(TOKENS, context=8, seed=0)
    first = corpus.sequences(0, corpus.windows)[:, 0].tolist()
    second = corpus.sequences(corpus.windows, corpus.windows)[:, 0].tolist()
    assert sorted(np.diff(sorted(first))) == [8] * (corpus.windows - 1)
    assert first != second


def test_held_out_text_is_never_trained_on() -> None:
    corpus = Corpus(TOKENS, context=8, seed=0)
    trained = set(corpus.sequences(0, 10 * corpus.windows).flatten().tolist())
    held_out = [corpus.held_out(rank, 2, limit=100) for rank in range(2)]
    assert not trained & set(torch.cat(held_out).flatten().tolist())
    assert abs(len(held_out[0]) - len(held_out[1])) <= 1


def test_a_text_shorter_than_its_context_is_refused() -> None:
    with pytest.raises(UsageProblem, match="smaller --context"):
        Corpus(TOKENS[:20], context=8, seed=0)


def test_a_folder_gives_its_visible_text_files_in_order(tmp_path: Path, said: list[str]) -> None:
    for name, content in {"b.txt": b"two", "a/c.md": b"one", ".git/config": b"no", "x.png": b"\x89PNG\xff"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert read_documents(str(tmp_path), said.append) == ["one", "two"]
    assert said == [f"skipping {tmp_path / 'x.png'}: not UTF-8 text"]


def test_a_file_is_read_by_path_and_by_uri(text_file: Path) -> None:
    expected = [text_file.read_text()]
    assert read_documents(str(text_file)) == read_documents(text_file.as_uri()) == expected


@pytest.fixture
def web(text_file: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(text_file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_fetched(web: str, text_file: Path) -> None:
    assert read_documents(f"{web}/{text_file.name}") == [text_file.read_text()]


@pytest.mark.parametrize("source", ["/no/such/file", "nothing://here", "http://127.0.0.1:9/closed"])
def test_a_source_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(UsageProblem, match=f"--text {source} cannot be read"):
        read_documents(source)


def test_a_missing_page_is_an_error_and_not_a_text(web: str) -> None:
    with pytest.raises(UsageProblem, match="404"):
        read_documents(f"{web}/absent")


def test_a_source_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UsageProblem, match="holds no text"):
        read_documents(str(tmp_path))


def test_a_later_attempt_uses_the_tokens_of_the_first(tmp_path: Path, text_file: Path) -> None:
    first = prepare(tmp_path / "data", str(text_file), 300)
    text_file.write_text("something else")
    second = prepare(tmp_path / "data", str(text_file), 300)
    assert second.digest == first.digest
    assert np.array_equal(first.tokens, second.tokens)
    assert first.tokenizer.to_str() == second.tokenizer.to_str()


def test_another_vocabulary_in_the_same_folder_is_refused(tmp_path: Path, text_file: Path) -> None:
    prepare(tmp_path / "data", str(text_file), 300)
    with pytest.raises(UsageProblem, match=r"vocab_size 300 \(now 400\)"):
        prepare(tmp_path / "data", str(text_file), 400)


def test_damaged_tokens_are_found(tmp_path: Path, text_file: Path) -> None:
    prepare(tmp_path / "data", str(text_file), 300)
    with (tmp_path / "data" / "tokens.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(UsageProblem, match="damaged"):
        prepare(tmp_path / "data", str(text_file), 300)
