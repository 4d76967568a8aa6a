"""A runtime_env's local parts, made ready for a server: folders become packages, requirement files their lines."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from raysvc.client.package import Package, py_module, working_dir
from raysvc.errors import Invalid

_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def localise(runtime_env: dict[str, Any], folder: Path, send: Callable[[Package], None]) -> dict[str, Any]:
    """Return the runtime_env with nothing local in it, having sent what was, as Ray's own client does.

    Relative paths start at `folder`. Raises Invalid, naming the field, for a path that leads nowhere.
    """
    env = dict(runtime_env)
    excludes = env.get("excludes") or []
    if not isinstance(excludes, list) or not all(isinstance(item, str) for item in excludes):
        raise Invalid("runtime_env.excludes must be a list of patterns.", field="runtime_env.excludes")

    def sent(package: Package) -> str:
        send(package)
        return package.uri

    code = env.get("working_dir")
    if isinstance(code, str) and not _URI.match(code):
        env["working_dir"] = sent(working_dir(_path(folder, code), excludes))
    modules = env.get("py_modules")
    if isinstance(modules, list):
        env["py_modules"] = [
            item if not isinstance(item, str) or _URI.match(item) else sent(py_module(_path(folder, item), excludes))
            for item in modules
        ]
    for name in ("pip", "uv"):
        if isinstance(env.get(name), str):
            env[name] = _text(_path(folder, env[name]), name).strip().split("\n")
    if isinstance(env.get("conda"), str) and env["conda"].endswith((".yaml", ".yml")):
        env["conda"] = yaml.safe_load(_text(_path(folder, env["conda"]), "conda"))
    return env


def _path(folder: Path, text: str) -> Path:
    return folder / Path(text).expanduser()


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Invalid(
            f"runtime_env.{name} names the file {path}, which cannot be read: {error.strerror}.",
            field=f"runtime_env.{name}",
        ) from error
