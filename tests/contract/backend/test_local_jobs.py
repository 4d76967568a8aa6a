"""What real jobs on local Ray show beyond the contract: bytes, packages, secrets, and what a job may not do."""

import io
import json
import os
import signal
import tarfile
import zipfile
from pathlib import Path

import psutil
import pytest

from raysvc.domain.job import Job
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Invalid, NotFound
from tests.contract.backend.lab import Lab, ref_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.ray]

AS_ROOT = os.geteuid() == 0
SECRET = "pa$$ ${HOME} 'q' \"d\" `id` é\nsecond line"


async def output(lab: Lab, job: Job) -> str:
    await lab.run(job)
    return (await lab.log(ref_of(job))).decode()


def archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return packed.getvalue()


# --- ends


async def test_stop_lets_a_driver_clean_up(either: Lab) -> None:
    job = either.job("trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    await either.backend.jobs.apply(job)

    async def began() -> bytes | None:
        log = await either.log(ref_of(job))
        return log if b"\nready\n" in log else None

    await either.until(began)
    await either.backend.jobs.stop(ref_of(job))
    assert (await either.ended(ref_of(job))).seen is Seen.STOPPED
    assert b"cleaned up\n" in await either.log(ref_of(job))


async def test_a_driver_that_is_killed_says_by_what(either: Lab) -> None:
    seen = await either.run(either.job("kill -9 $$"))
    assert (seen.seen, seen.cause, seen.exit_code) == (Seen.FAILED, ReasonCode.ENTRYPOINT_FAILED, -signal.SIGKILL)
    assert "ended by SIGKILL" in seen.message


async def test_a_supervisor_that_dies_is_not_the_users_fault(local: Lab) -> None:
    job = local.job("sleep 612")
    await local.backend.jobs.apply(job)

    async def driver() -> psutil.Process | None:
        found = [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "612"]]
        return found[0] if found else None

    shell = (await local.until(driver)).parents()
    supervisor = next(process for process in shell if "JobSupervisor" in " ".join(process.cmdline()))
    supervisor.kill()
    seen = await local.ended(ref_of(job))
    assert (seen.seen, seen.cause) == (Seen.FAILED, ReasonCode.DRIVER_LOST)


async def test_a_runtime_environment_that_contradicts_itself_is_the_users_fault(local: Lab) -> None:
    seen = await local.run(local.job("true", runtime_env={"pip": ["six"], "conda": "base"}))
    assert (seen.seen, seen.cause) == (Seen.FAILED, ReasonCode.RUNTIME_ENV_FAILED)
    assert "pip" in seen.message
    assert "Traceback" not in seen.message


async def test_what_ray_refuses_at_once_is_invalid_with_its_own_words(local: Lab) -> None:
    with pytest.raises(Invalid, match="Invalid label key name `not a label!`"):
        await local.backend.jobs.apply(local.job("true", label_selector={"not a label!": "x"}))


# --- logs


async def test_logs_are_the_bytes_that_the_driver_wrote(either: Lab) -> None:
    written = "é" * 3 + "\r50 %\r100 %\n" + "x" * 20_000 + "\n" + "日本語\n"
    program = f"import sys; sys.stdout.buffer.write({written!r}.encode() + bytes([255, 10]))"
    job = either.job(_python(program))
    await either.run(job)
    log = await either.log(ref_of(job))
    at = log.index(written.encode() + b"\xff\n")
    # An offset in the middle of a character is an offset like any other.
    assert await either.log(ref_of(job), at + 1) == log[at + 1 :]
    assert await either.log(ref_of(job), at + 1, follow=True) == log[at + 1 :]


async def test_logs_that_follow_do_not_lag(local: Lab) -> None:
    program = "import time\nfor n in range(20): print(n, time.time(), flush=True); time.sleep(0.1)"
    job = local.job(_python(program))
    await local.backend.jobs.apply(job)
    lags = []
    async for chunk in local.backend.jobs.logs(ref_of(job), offset=0, follow=True):
        now = local.clock.now().timestamp()
        lags += [now - float(line.split()[1]) for line in chunk.splitlines() if line.split()[0].isdigit()]
    assert len(lags) == 20
    assert sorted(lags)[len(lags) // 2] < 0.5


# --- packages


async def test_code_in_a_package_is_where_the_job_starts(either: Lab) -> None:
    either.materials.packages["default", "_ray_pkg_aaaaaaaaaaaaaaaa.zip"] = archive(
        {"main.py": "import lib; lib.hello()", "lib.py": "def hello(): print('from the package')"}
    )
    job = either.job("python main.py", runtime_env={"working_dir": "gcs://_ray_pkg_aaaaaaaaaaaaaaaa.zip"})
    assert "from the package\n" in await output(either, job)


async def test_packages_of_one_name_are_kept_apart_by_project_and_by_contents(either: Lab) -> None:
    name = "_ray_pkg_bbbbbbbbbbbbbbbb.zip"
    code = {"kind": "archive", "uri": f"gcs://{name}"}
    either.materials.packages["default", name] = archive({"main.py": "print('mine')"})
    either.materials.packages["other", name] = archive({"main.py": "print('theirs')"})
    assert "mine\n" in await output(either, either.job("python main.py", code=code))
    assert "theirs\n" in await output(either, either.job("python main.py", code=code, project="other"))
    either.materials.packages["default", name] = archive({"main.py": "print('mine, changed')"})
    assert "mine, changed\n" in await output(either, either.job("python main.py", code=code))


async def test_a_package_over_rays_limit_arrives_with_the_same_layout(local: Lab) -> None:
    """Ray strips a lone folder at the top of archives that do not come by gcs://."""
    noise = os.urandom(101 << 20)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("top/noise.bin", noise)
        opened.writestr("top/main.py", "import os; print('size', os.path.getsize('top/noise.bin'))")
    local.materials.packages["default", "_ray_pkg_cccccccccccccccc.zip"] = packed.getvalue()
    job = local.job("python top/main.py", runtime_env={"working_dir": "gcs://_ray_pkg_cccccccccccccccc.zip"})
    assert f"size {101 << 20}\n" in await output(local, job)


async def test_tars_and_modules_over_the_limit_keep_their_layout_too(
    local: Lab, local_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysvc.backends.local.delivery.MAX_UPLOAD_BYTES", 10)
    for number, mode in enumerate(("gz", "xz")):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=f"w:{mode}") as opened:  # type: ignore[call-overload]
            entry = tarfile.TarInfo("top/main.py")
            text = b"print('from a tar')"
            entry.size = len(text)
            opened.addfile(entry, io.BytesIO(text))
        name = f"_ray_pkg_dddddddddddddd{number:02}.tar.{mode}"
        local.materials.packages["default", name] = packed.getvalue()
        job = local.job("python top/main.py", runtime_env={"working_dir": f"gcs://{name}"})
        assert "from a tar\n" in await output(local, job)
    local.materials.packages["default", "_ray_pkg_1111111111111111.zip"] = archive(
        {"pkg/__init__.py": "WORD = 'mellon'"}
    )
    modules = {"py_modules": ["gcs://_ray_pkg_1111111111111111.zip"]}
    job = local.job("python -c 'import pkg; print(pkg.WORD)'", runtime_env=modules)
    assert "mellon\n" in await output(local, job)
    assert len(list((local_dir / "work" / "packages").glob("_ray_pkg_*"))) >= 3


# --- secrets


async def test_secrets_reach_driver_and_workers_and_nothing_that_ray_keeps(either: Lab, local_dir: Path) -> None:
    either.materials.secrets["default", "PASSWORD"] = SECRET
    program = f"""
import os, ray
ray.init(logging_level="error")
read = ray.remote(lambda: (os.environ["DIRECT"], os.environ["WITHIN"]))
wanted = ({SECRET!r}, "user:" + {SECRET!r})
print("driver", (os.environ["DIRECT"], os.environ["WITHIN"]) == wanted)
print("worker", ray.get(read.remote()) == wanted)
print("nested", ray.get(read.options(runtime_env={{"env_vars": {{"MORE": "1"}}}}).remote()) == wanted)
"""
    either.materials.packages["default", "_ray_pkg_eeeeeeeeeeeeeeee.zip"] = archive({"main.py": program})
    job = either.job(
        "python main.py",
        runtime_env={
            "working_dir": "gcs://_ray_pkg_eeeeeeeeeeeeeeee.zip",
            "env_vars": {"WITHIN": "user:${secret:PASSWORD}"},
        },
        secrets={"DIRECT": "PASSWORD"},
    )
    assert "pa$$" not in json.dumps(either.backend.jobs.render(job).model_dump())
    assert {"driver True", "worker True", "nested True"} <= set((await output(either, job)).splitlines())
    for file in (local_dir / "work" / "ray").rglob("logs/**/*"):
        assert not file.is_file() or b"second line" not in file.read_bytes(), file
    # Gone with the attempt's end, for its record may be kept for weeks.
    assert not list((local_dir / "work" / "secrets").glob(f"{ref_of(job).name}*"))


# --- what a job may not


async def test_a_job_sees_nothing_of_the_servers_environment(either: Lab) -> None:
    seen = await output(either, either.job("env"))
    names = {line.partition("=")[0] for line in seen.splitlines() if "=" in line}
    assert {"PATH", "HOME", "LANG", "TMPDIR", "RAYSVC_JOB_ID"} <= names
    assert not names & {"RAYSVC_TOKEN", "RAYSVC_URL", "AWS_SECRET_ACCESS_KEY"}


async def test_a_job_cannot_read_the_data_directory(either: Lab, local_dir: Path) -> None:
    (local_dir / "admin-token").write_text("open sesame")
    job = either.job(
        f"id -u; cat {local_dir}/admin-token; cat {local_dir}/local/head.json; grep NoNewPrivs /proc/self/status"
    )
    seen = await output(either, job)
    assert "NoNewPrivs:\t1" in seen
    if AS_ROOT:
        assert "\n0\n" not in seen
        assert "open sesame" not in seen
        assert '"port"' not in seen


async def test_artifacts_do_not_lead_out_of_the_folder(either: Lab) -> None:
    job = either.job(
        "cd $RAYSVC_OUTPUT_DIR && mkdir -p a/b && echo in > a/b/file && ln -s /etc etc && ln -s /etc/passwd passwd"
        " && ln -s a/b/file link && mkfifo pipe && touch $(printf 'bad\\377name')"
    )
    assert (await either.run(job)).seen is Seen.SUCCEEDED
    assert [file.path for file in await either.backend.artifacts.list(job.uid)] == ["a/b/file"]
    for path in ("etc/passwd", "passwd", "link", "pipe", "a/../../output/a/b/file", "a/b"):
        with pytest.raises(NotFound):
            await anext(aiter(either.backend.artifacts.read(job.uid, path)))


async def test_a_job_cannot_swap_its_folder_for_a_link(local: Lab) -> None:
    job = local.job("rm -rf $RAYSVC_OUTPUT_DIR; ln -s /etc $RAYSVC_OUTPUT_DIR")
    await local.run(job)
    assert "passwd" not in {file.path for file in await local.backend.artifacts.list(job.uid)}
    with pytest.raises(NotFound):
        await anext(aiter(local.backend.artifacts.read(job.uid, "passwd")))


async def test_checkpoints_outlive_the_attempt(either: Lab) -> None:
    first = either.job("echo step 7 >> $RAYSVC_CHECKPOINT_DIR/state; cat $RAYSVC_CHECKPOINT_DIR/state")
    second = first.model_copy(update={"attempt": 2})
    await either.run(first)
    assert (await output(either, second)).count("\nstep 7") == 2


async def test_jobs_run_in_a_private_home_with_the_servers_python(either: Lab, local_dir: Path) -> None:
    seen = await output(either, either.job("pwd; echo $HOME; python -c 'import sys; print(sys.prefix)'"))
    assert seen.splitlines().count(str(local_dir / "work" / "home")) == 2


async def test_resources_of_the_driver_are_asked_for_and_shown_as_used(local: Lab) -> None:
    job = local.job("sleep 600", resources={"cpus": 1})
    await local.backend.jobs.apply(job)

    async def in_use() -> bool | None:
        return (await local.backend.clusters.get("local")).used.cpus >= 1 or None

    assert await local.until(in_use)
    await local.backend.jobs.delete(ref_of(job))


def _python(program: str) -> str:
    """Return a command that runs the program, whatever quotes it has."""
    return f"echo {program.encode().hex()} | python -c 'import sys; exec(bytes.fromhex(sys.stdin.read()))'"
