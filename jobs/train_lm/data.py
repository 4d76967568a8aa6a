"""Text in, tokens out, and which tokens make the n-th training sequence."""

import hashlib
import json
import os
import pydoc_data.topics
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from pyarrow import ArrowException
from pyarrow import fs as filesystems
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from train_lm.contract import sync
from train_lm.errors import UsageProblem

PYTHON_DOCS = "pydoc"
END_OF_TEXT = "<|endoftext|>"
PADDING = "<|pad|>"
SPECIAL_TOKENS = (END_OF_TEXT, PADDING)  # their ids are 0 and 1
_SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)  # every byte has a token, so that any text can be encoded
_FETCH_TIMEOUT_S = 60
_HELD_OUT = 0.05  # of the tokens, the last ones


def read_documents(source: str, say: Callable[[str], None] = print) -> list[str]:
    """Return the documents of a source, in an order that does not change.

    `source`: "pydoc" (the topics of Python's own documentation), an http(s) URL, or a file or folder, by path or by a
    URI that pyarrow knows (s3://, gs://, file://). In a folder every visible UTF-8 file is a document.
    Raises UsageProblem where there is no text.
    """
    if source == PYTHON_DOCS:
        return [pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)]
    try:
        contents = _fetch(source) if source.startswith(("http://", "https://")) else _read_files(source)
    except (OSError, urllib.error.URLError, ArrowException, ValueError) as problem:
        message = f"--text {source} cannot be read: {problem}"
        raise UsageProblem(message) from problem
    documents = []
    for name, content in contents.items():
        try:
            documents.append(content.decode("utf-8"))
        except UnicodeDecodeError:
            say(f"skipping {name}: not UTF-8 text")
    if not any(document.strip() for document in documents):
        message = f"--text {source} holds no text: it takes UTF-8 files."
        raise UsageProblem(message)
    return documents


def _fetch(url: str) -> dict[str, bytes]:
    with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT_S) as reply:  # noqa: S310 http(s), by the caller's check
        content: bytes = reply.read()
    return {url: content}


def _read_files(source: str) -> dict[str, bytes]:
    if "://" in source:
        system, path = filesystems.FileSystem.from_uri(source)
    else:
        system, path = filesystems.LocalFileSystem(), str(Path(source).absolute())
    entry = system.get_file_info(path)
    if entry.type == filesystems.FileType.NotFound:
        raise FileNotFoundError("there is no such file or folder")
    if entry.is_file:
        paths = [path]
    else:
        found = system.get_file_info(filesystems.FileSelector(path, recursive=True))
        paths = [item.path for item in found if item.is_file and _visible(PurePosixPath(item.path).relative_to(path))]
    contents = {}
    for name in sorted(paths):
        with system.open_input_stream(name) as stream:
            contents[name] = stream.read()
    return contents


def _visible(path: PurePosixPath) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def train_tokenizer(documents: list[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE tokenizer; it has fewer tokens where the text has too few words to learn."""
    if vocab_size < _SMALLEST_VOCABULARY:
        message = (
            f"--vocab-size {vocab_size} is too small: every byte needs a token, so at least {_SMALLEST_VOCABULARY}."
        )
        raise UsageProblem(message)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the ids of END_OF_TEXT and PADDING; raises UsageProblem for a tokenizer that has others."""
    end, padding = (tokenizer.token_to_id(token) for token in SPECIAL_TOKENS)
    if end is None or padding is None:
        message = f"The tokenizer was not made by train_lm: it lacks {END_OF_TEXT} or {PADDING}."
        raise UsageProblem(message)
    return end, padding


def encode(tokenizer: Tokenizer, documents: list[str]) -> np.ndarray:
    """Return all documents as one array of token ids, each begun by END_OF_TEXT."""
    start, _ = special_ids(tokenizer)
    rows = [[start, *encoding.ids] for encoding in tokenizer.encode_batch(documents)]
    return np.concatenate([np.asarray(row, dtype=np.uint32) for row in rows])


class Corpus:
    """Training sequences by number: the n-th is the same whoever asks, so a position is all that a resume needs.

    Each epoch cuts the training tokens into windows from another offset and deals them in another order, both from
    (seed, epoch) alone. The last tokens are held out for evaluation.
    """

    def __init__(self, tokens: np.ndarray, context: int, seed: int) -> None:
        held_out = max(context + 1, int(len(tokens) * _HELD_OUT))
        self._train, self._held_out = tokens[:-held_out], tokens[-held_out:]
        self._context = context
        self._seed = seed
        self.windows = len(self._train) // context - 1  # one less, so that every offset has room
        if self.windows < 1:
            message = (
                f"The text has {len(tokens):,} tokens; with --context {context} it takes at least "
                f"{3 * (context + 1):,}. Give more text or a smaller --context."
            )
            raise UsageProblem(message)
        self._epoch = -1
        self._starts = np.empty(0, dtype=np.int64)

    def sequences(self, position: int, count: int) -> torch.Tensor:
        """Return sequences `position` to `position + count` as (count, context + 1) token ids: inputs and targets."""
        starts = (self._start(*divmod(number, self.windows)) for number in range(position, position + count))
        return self._cut(self._train, starts)

    def held_out(self, first: int, step: int, limit: int) -> torch.Tensor:
        """Return every `step`-th of the first `limit` held-out sequences, from `first` on."""
        count = min(limit, (len(self._held_out) - 1) // self._context)
        return self._cut(self._held_out, (number * self._context for number in range(first, count, step)))

    def _start(self, epoch: int, place: int) -> int:
        if epoch != self._epoch:
            dice = np.random.default_rng([self._seed, epoch])
            self._starts = dice.permutation(self.windows) * self._context + dice.integers(self._context)
            self._epoch = epoch
        return int(self._starts[place])

    def _cut(self, tokens: np.ndarray, starts: Any) -> torch.Tensor:
        rows = [tokens[start : start + self._context + 1].astype(np.int64) for start in starts]
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty((0, self._context + 1), dtype=torch.int64)


@dataclass(frozen=True)
class Prepared:
    """A text made ready to train on. `digest` is the SHA-256 of its tokens."""

    tokenizer: Tokenizer
    tokens: np.ndarray
    digest: str
    documents: int
    characters: int


_ABOUT, _TOKENIZER, _TOKENS = "data.json", "tokenizer.json", "tokens.npy"


def prepare(folder: Path, source: str, vocab_size: int, say: Callable[[str], None] = print) -> Prepared:
    """Return the tokens of a source, from `folder` if an earlier attempt left them there, else made and left there.

    Kept, because an exact resume needs the same tokens even if the source has changed since. Raises UsageProblem
    where the folder holds those of another source or vocabulary size.
    """
    about = {"source": source, "vocab_size": vocab_size}
    if not (folder / _ABOUT).exists():
        _write(folder, about, read_documents(source, say))
    kept = json.loads((folder / _ABOUT).read_text())
    differing = [key for key, value in about.items() if kept[key] != value]
    if differing:
        was = ", ".join(f"{key} {kept[key]!r} (now {about[key]!r})" for key in differing)
        message = f"The run in {folder.parent} was begun with {was}: keep that, or use another checkpoint folder."
        raise UsageProblem(message)
    content = (folder / _TOKENS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != kept["sha256"]:
        message = (
            f"{folder / _TOKENS} is damaged (SHA-256 differs): the run cannot be resumed exactly. Remove {folder}."
        )
        raise UsageProblem(message)
    return Prepared(
        tokenizer=Tokenizer.from_file(str(folder / _TOKENIZER)),
        tokens=np.load(folder / _TOKENS),
        digest=digest,
        documents=kept["documents"],
        characters=kept["characters"],
    )


def _write(folder: Path, about: dict[str, Any], documents: list[str]) -> None:
    tokenizer = train_tokenizer(documents, about["vocab_size"])
    tokens = encode(tokenizer, documents)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    tokenizer.save(str(draft / _TOKENIZER))
    np.save(draft / _TOKENS, tokens)
    counts = {
        "documents": len(documents),
        "characters": sum(map(len, documents)),
        "tokens": len(tokens),
        "sha256": hashlib.sha256((draft / _TOKENS).read_bytes()).hexdigest(),
    }
    (draft / _ABOUT).write_text(json.dumps({**about, **counts}, indent=2))
    for path in (draft / _TOKENIZER, draft / _TOKENS, draft / _ABOUT, draft):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync(folder.parent)
