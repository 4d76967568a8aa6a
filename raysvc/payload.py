"""Where the programs that run on a Ray cluster lie: `jobs/` and `serving/`, shipped as data and never imported here.

In a checkout they are folders at the top; in an installed wheel, `raysvc/_payload/`.
"""

from pathlib import Path

from raysvc.errors import Invalid

_PACKAGE = Path(__file__).parent


def root() -> Path:
    """Return the folder that holds `jobs/` and `serving/`."""
    installed = _PACKAGE / "_payload"
    return installed if installed.is_dir() else _PACKAGE.parent


def program(name: str) -> Path:
    """Return the folder of a program under `jobs/`; raises Invalid with the names there are."""
    jobs = root() / "jobs"
    folder = jobs / name
    if folder.parent != jobs or not (folder / "job.yaml").is_file():
        names = sorted(p.parent.name for p in jobs.glob("*/job.yaml"))
        message = f"There is no program {name!r} in raysvc. Programs: {', '.join(names) or 'none'}."
        raise Invalid(message, field="code.name")
    return folder
