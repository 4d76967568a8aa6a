"""The API server has the last word on what is rendered: no field that it would drop, none that it refuses."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysvc.backends.kuberay.connect import connect
from raysvc.backends.kuberay.objects import Objects
from tests.unit.backends.kuberay.test_manifest import GOLDEN

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.kube]
# Served where NVIDIA's DRA driver is installed, which needs such GPUs.
_OF_OTHERS = {"ComputeDomain"}
RENDERED = {file.stem: list(yaml.safe_load_all(file.read_text())) for file in sorted(GOLDEN.glob("*.yaml"))}


@pytest.mark.parametrize("case", RENDERED)
async def test_golden_files_are_taken_as_they_are(case: str, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "KUBECONFIG", str(kubeconfig))
    connection = await connect(None, None)
    objects = Objects(connection.kube, connection.namespace, "test")
    try:
        for document in RENDERED[case]:
            if "kind" in document and document["kind"] not in _OF_OTHERS:
                made = await connection.kube.create(objects.folder(document["kind"]), document, dry_run=True)
                assert not _lost({**document, "stringData": None}, made)
    finally:
        await connection.kube.close()


def _lost(sent: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of what was sent and is not kept, or not as it was."""
    if isinstance(sent, dict):
        return [lost for key in sent for lost in _lost(sent[key], (kept or {}).get(key), f"{path}.{key}")]
    if isinstance(sent, list):
        kept = kept or [None] * len(sent)
        return [lost for number, item in enumerate(sent) for lost in _lost(item, kept[number], f"{path}[{number}]")]
    return [] if sent in {None, kept} else [f"{path}: {sent} is {kept}"]
