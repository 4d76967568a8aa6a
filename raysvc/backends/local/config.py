"""What an operator can say about local Ray, and what is chosen where nothing is said."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

CLUSTER = "local"
_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """Sizes are bytes, times seconds. `ray_address` None: a head of our own is started and looked after.

    `shared_dir` is for several servers on one Ray that was given: there are the jobs' folders, and the word that marks
    their jobs.
    """

    data_dir: Path
    shared_dir: Path | None = None
    project: str = "default"
    ray_address: str | None = None
    ray_token_file: Path | None = None
    max_running_jobs: int | None = None
    num_cpus: int | None = None
    object_store_memory: int | None = None
    job_user: str | None = None
    start_timeout_s: float = 120.0
    # A head that does not answer for so long is replaced, and its jobs with it. Long: a machine whose cores all train
    # answers slowly, and is not dead.
    unhealthy_after_s: float = 60.0
    # Between SIGTERM and SIGKILL for a job that is stopped (Ray's RAY_JOB_STOP_WAIT_TIME_S).
    stop_grace_s: int = 5

    @property
    def job_limit(self) -> int:
        """How many jobs may run at once."""
        return self.max_running_jobs or job_limit(os.cpu_count() or 1, available_memory())

    @property
    def object_store(self) -> int:
        """The size of Ray's shared object store."""
        return self.object_store_memory or object_store(available_memory())


def job_limit(cores: int, memory: int) -> int:
    """Return how many jobs may run at once: two a core, 512 MiB each, 8 at most.

    A job costs its supervisor actor (85 MB) and a driver that has imported ray (about 150 MB) before it does anything,
    and a head grows unstable beyond about 30 of them (ray#60159).
    """
    return max(1, min(8, 2 * cores, memory // (512 * _MIB)))


def object_store(memory: int) -> int:
    """Return a modest size: a tenth of the free memory, 256 MiB to 2 GiB, where Ray alone would take 30 %."""
    return max(256 * _MIB, min(2048 * _MIB, memory // 10))


def available_memory() -> int:
    """Return the memory that can still be used, in bytes; within a container, that of the container (cgroup v2)."""
    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        fields = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return free
    # The page cache counts as used, but is given back when somebody needs it.
    return max(0, min(free, limit - used + int(fields.get("inactive_file", 0))))
