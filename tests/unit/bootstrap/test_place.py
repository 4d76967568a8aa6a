"""What follows from where Ray runs."""

from pathlib import Path

from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.serve import assemble
from raysvc.settings import Settings


def test_replicas_of_a_local_ray_are_on_this_machine(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    datadir = DataDir(tmp_path)
    datadir.open()
    try:
        parts, _ = assemble(settings, datadir, (), "http://127.0.0.1:8500")
    finally:
        datadir.close()
    assert [parts.replica_hosts(host) for host in ("127.0.0.1", "192.0.2.1", "::1%\n")] == [True, False, False]
