"""How results look: a table for people, JSON and YAML for programs, ids for pipes.

Results go to stdout, and all that is said beside them to stderr.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raysvc.errors import RaysvcError

# Columns of a table that is not read on a terminal: wide enough that nothing a script looks for is cut.
_PIPE_WIDTH = 250


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    ID = "id"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The project; RAYSVC_PROJECT, or `default`, if not given.")
]
Columns = Mapping[str, Callable[[Any], str | Text]]


def console(*, err: bool = False) -> Console:
    """Return a console on stdout, or stderr, as it is now. It marks nothing up that it is not told to."""
    file = sys.stderr if err else sys.stdout
    return Console(file=file, highlight=False, markup=False, emoji=False, width=None if file.isatty() else _PIPE_WIDTH)


def say(text: str | Text) -> None:
    """Print a line for the person at the terminal."""
    console(err=True).print(text, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning for the person at the terminal."""
    say(Text.assemble(("Warning: ", "yellow"), text))


def complain(error: RaysvcError) -> None:
    """Print an error for the person at the terminal, with the field where the text does not name it."""
    where = f" (field {error.field})" if error.field and error.field not in error.message else ""
    say(Text.assemble(("Error: ", "bold red"), error.message, where))


def show(items: Sequence[BaseModel], output: Format, columns: Columns, key: str = "name") -> None:
    """Print a list of records."""
    if output is Format.TABLE:
        _table(items, columns)
    elif output is Format.ID:
        _lines(str(getattr(item, key)) for item in items)
    else:
        show_data([item.model_dump(mode="json") for item in items], output)


def show_one(item: BaseModel, output: Format, columns: Columns, key: str = "name") -> None:
    """Print one record: for people, a field a line."""
    if output is Format.TABLE:
        table = Table.grid(padding=(0, 2))
        for title, cell in columns.items():
            table.add_row(Text(title, style="dim"), cell(item))
        console().print(table)
    elif output is Format.ID:
        _lines([str(getattr(item, key))])
    else:
        show_data(item.model_dump(mode="json"), output)


def show_data(data: Any, output: Format) -> None:
    """Print plain data: as JSON where that is asked for, else as YAML."""
    if output is Format.JSON:
        text = json.dumps(data, indent=2, ensure_ascii=False)
    else:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")
    _lines([text])


def _table(items: Sequence[BaseModel], columns: Columns) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(columns):
        table.add_column(title, no_wrap=number == 0, overflow="fold")
    for item in items:
        table.add_row(*(cell(item) for cell in columns.values()))
    console().print(table)


def _lines(lines: Any) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
