"""Loads policy files, and follows a folder of them while the server runs."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from raysvc.errors import Invalid
from raysvc.policies.call import Call, trust
from raysvc.policies.compile import compile_rules
from raysvc.policies.document import OnError, PolicyDocument, WebhookDocument
from raysvc.policies.file import PolicyFile
from raysvc.policies.rule import Rule
from raysvc.policies.source import Source
from raysvc.policies.view import Views
from raysvc.policies.webhook import Webhook
from raysvc.ports import Clock, Policy

_ENDINGS = frozenset({".yaml", ".yml"})
WATCH_S = 2.0
# Path, inode, size and mtime (ns) of each file: one that is put in place by a rename has another inode.
Fingerprint = frozenset[tuple[Path, int, int, int]]


@dataclass(frozen=True)
class Compiled:
    """A file that parsed: where it lies, its document and its rules."""

    path: Path
    document: PolicyDocument
    rules: tuple[Rule, ...]

    def beside(self, path: Path) -> Path:
        """Return a path that the file names, which is relative to the file."""
        return self.path.parent / path

    def side_files(self) -> Iterator[Path]:
        for webhook in self.document.webhooks:
            yield self.beside(webhook.secret_file)
            if webhook.ca_file is not None:
                yield self.beside(webhook.ca_file)


def read(paths: Sequence[Path]) -> tuple[Compiled, ...]:
    """Return the compiled files, and of folders those that end in .yaml or .yml, by name. Blocks; reads no secret.

    Raises Invalid for the first that cannot be read or does not parse, and where two have the same policy name.
    """
    found: dict[str, Compiled] = {}
    for path in _files(paths):
        source = Source(path)
        document = source.document()
        other = found.get(document.policy)
        if other is not None:
            raise source.invalid(("policy",), f"{document.policy!r} is the name of {other.path} too; give each its own")
        found[document.policy] = Compiled(path, document, compile_rules(source, document.rules))
    return tuple(found.values())


def load(paths: Sequence[Path], clock: Clock) -> tuple[PolicyFile, ...]:
    """Return the policies of files and folders, ready to review. Blocks; raises Invalid like `read`.

    Also raises Invalid where a webhook's secret_file or ca_file cannot be used.
    """
    return _equip(read(paths), clock)


def _equip(files: Sequence[Compiled], clock: Clock) -> tuple[PolicyFile, ...]:
    views = Views(expression for file in files for rule in file.rules for expression in rule.expressions())
    return tuple(
        PolicyFile(
            name=file.document.policy,
            rules=file.rules,
            views=views,
            webhooks=tuple(_webhook(file, document, clock) for document in file.document.webhooks),
            enforce=file.document.mode == "enforce",
        )
        for file in files
    )


class PolicyFolder(Sequence[Policy]):
    """The policies of a folder as they are now: a sequence whose content `reload` swaps as a whole.

    A folder that is not there holds no policies; once it held some, its absence is a problem, and they stay in force.
    """

    def __init__(self, folder: Path, clock: Clock, report: Callable[[Invalid], None]) -> None:
        """Load the folder. Blocks; raises Invalid: a server does not start on rules that it cannot read.

        `report` is told of each later change that does not load, once, from the thread that reloads.
        """
        self._folder = folder
        self._clock = clock
        self._report = report
        self._policies: tuple[PolicyFile, ...] = ()
        self._side_files: tuple[Path, ...] = ()
        self._seen: Fingerprint = frozenset()
        self.problem: Invalid | None = None
        self._load()

    def reload(self) -> bool:
        """Load the folder again if one of its files changed; return whether the policies are new. Blocks; never raises.

        Where a file does not load, the whole last good set stays, and `problem` says why until it is mended.
        """
        try:
            # While there is a problem, look again even so: a folder may come back just as it was.
            if self.problem is None and self._fingerprint(self._side_files) == self._seen:
                return False
            self._load()
        except Invalid as error:
            known = self.problem is not None and self.problem.message == error.message
            self.problem = error
            if not known:
                self._report(error)
            return False
        self.problem = None
        return True

    async def watch(self, interval_s: float = WATCH_S) -> None:
        """Reload after each change, for ever: a task to cancel."""
        while True:
            await self._clock.sleep(interval_s)
            await asyncio.to_thread(self.reload)

    def __iter__(self) -> Iterator[Policy]:
        # Of the tuple: who goes through it while it is swapped sees the old policies to their end.
        return iter(self._policies)

    def __len__(self) -> int:
        return len(self._policies)

    @overload
    def __getitem__(self, index: int) -> Policy: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Policy]: ...
    def __getitem__(self, index: int | slice) -> Policy | Sequence[Policy]:
        return self._policies[index]

    def _load(self) -> None:
        if self._policies and not self._folder.is_dir():
            raise Invalid(f"The policy folder {self._folder} is gone; its last policies stay in force.")
        # Looked at before it is read: what changes in between is seen next time.
        seen = self._fingerprint(())
        files = read([self._folder]) if self._folder.is_dir() else ()
        side_files = tuple(path for file in files for path in file.side_files())
        seen |= _stat(side_files)
        self._policies = _equip(files, self._clock)
        self._side_files, self._seen = side_files, seen

    def _fingerprint(self, side_files: Iterable[Path]) -> Fingerprint:
        return _stat((*(_files([self._folder]) if self._folder.is_dir() else ()), *side_files))


def _stat(paths: Iterable[Path]) -> Fingerprint:
    found = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.add((path, status.st_ino, status.st_size, status.st_mtime_ns))
    return frozenset(found)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        try:
            inside = sorted(path.iterdir())
        except OSError as error:
            raise Invalid(f"{path}: cannot be listed: {error.strerror}.", field=str(path)) from error
        files += [file for file in inside if file.suffix in _ENDINGS and not file.name.startswith(".")]
    return files


def _webhook(file: Compiled, document: WebhookDocument, clock: Clock) -> Webhook:
    where = f"{file.path}: webhook {document.name}"
    path = file.beside(document.secret_file)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise Invalid(f"{where}: secret_file {path} cannot be read: {error.strerror}.", field=str(file.path)) from error
    if not key:
        raise Invalid(f"{where}: secret_file {path} is empty; put a random key into it.", field=str(file.path))
    call = Call(
        url=document.url,
        timeout_s=document.timeout_s,
        allow_private=document.allow_private,
        tls=trust(None if document.ca_file is None else file.beside(document.ca_file)),
    )
    return Webhook(document.name, call, key, clock, closed=document.on_error is OnError.CLOSED)
