"""`kubectl`, as whoever a kubeconfig says."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import programs
from tests.cluster.command import run


class Kubectl:
    """Raises ClusterError, with what it said, where a command fails."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._program = programs.built().kubectl

    def __call__(self, *arguments: str | Path, given: str | None = None) -> str:
        return run(self._program, f"--kubeconfig={self.kubeconfig}", *arguments, given=given)

    def get(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "--output=json"))

    def kustomize(self, folder: Path) -> str:
        return run(self._program, "kustomize", folder)

    def apply(self, *documents: Any, dry_run: bool = False) -> None:
        """Send objects as `kubectl apply --server-side` does: unknown fields are refused."""
        options = ("--server-side", "--force-conflicts", *(["--dry-run=server"] if dry_run else []), "--filename=-")
        self("apply", *options, given=yaml.safe_dump_all(documents))
