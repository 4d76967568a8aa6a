import ast
import io
import os
import sys
import zipfile

import pytest
import yaml

from raysvc import payload
from raysvc.domain.job import JobSpec, PayloadCode
from raysvc.errors import Invalid

PROGRAMS = ("batch_infer", "sweep", "train_lm")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_programs_spec_is_a_job_that_runs_it(name: str) -> None:
    spec = JobSpec.model_validate(yaml.safe_load((payload.program(name) / "job.yaml").read_text()))
    assert spec.code == PayloadCode(name=name)
    assert spec.entrypoint.startswith(f"python -m {name}")
    assert spec.demand().cpus == 2  # what the smallest machine we promise has


def test_an_unknown_program_is_refused_with_the_names_there_are() -> None:
    for name in ("nothing", "../raysvc", "."):
        with pytest.raises(Invalid, match="Programs: batch_infer, sweep, train_lm"):
            payload.program(name)


def test_the_archive_is_the_working_directory_without_what_only_people_read() -> None:
    names = zipfile.ZipFile(io.BytesIO(payload.archive())).namelist()
    assert names == [name for name, _ in payload.files()]
    assert {name.split("/")[0] for name in names} == set(PROGRAMS)
    assert {f"{name}/__main__.py" for name in PROGRAMS} <= set(names)
    assert {name.split("/")[-1] for name in names if not name.endswith(".py")} == {"job.yaml"}


def test_the_archive_is_the_same_bytes_whatever_the_files_times() -> None:
    before = payload.archive()
    _, path = next(payload.files())
    times = path.stat()
    try:
        os.utime(path, (1, 1))
        assert payload.archive() == before
    finally:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_programs_import_neither_raysvc_nor_what_a_cluster_lacks() -> None:
    allowed = {"ray", "torch", "numpy", "pyarrow", "tokenizers", "safetensors", *PROGRAMS}
    for name, path in payload.files():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            foreign = {str(name).split(".")[0] for name in names} - allowed - sys.stdlib_module_names
            assert not foreign, f"{name} imports {foreign}"
