"""What an operator can set, and where it lives. One frozen record; the CLI fills it."""

import ipaddress
import os
from datetime import timedelta
from pathlib import Path

import platformdirs
from pydantic import Field, model_validator

from raysvc.domain.model import Model
from raysvc.errors import Invalid

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def default_data_dir() -> Path:
    """Return `$RAYSVC_DATA_DIR`, or the platform's user data directory."""
    named = os.environ.get("RAYSVC_DATA_DIR")
    return Path(named).expanduser() if named else platformdirs.user_data_path("raysvc")


class Settings(Model):
    """All of `raysvc up`. Sizes are bytes, times seconds."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = Field(default=8500, ge=0, le=65535, description="0 takes a free one")
    dashboard_port: int = Field(default=0, ge=0, le=65535, description="of the dashboards' own origin; 0: a free one")
    openai_port: int = Field(
        default=0, ge=0, le=65535, description="of the proxy for OpenAI clients; 0: the one before, or a free one"
    )
    database_url: str | None = Field(default=None, description="None: SQLite in the data directory")
    shared_dir: Path | None = Field(
        default=None, description="keys, rules, blobs, jobs' folders of several servers; None: data_dir"
    )
    public_url: str | None = Field(default=None, description="how clients reach us through an ingress")
    public_dashboard_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    insecure: bool = Field(default=False, description="plain HTTP beyond loopback")
    tls_cert: Path | None = None
    tls_key: Path | None = None
    policies: Path | None = Field(
        default=None, description="directory of policy files; None: <deployment_dir>/policies"
    )
    max_package_bytes: int = Field(default=2 << 30, gt=0)
    max_running_jobs: int | None = Field(default=None, ge=1, description="None: by the machine's cores and memory")
    ray_address: str | None = Field(default=None, description="http(s) URL of a running Ray; None: start one")
    ray_token_file: Path | None = None
    kube: bool = Field(default=False, description="Ray on Kubernetes, through KubeRay, instead of on this machine")
    context: str | None = Field(default=None, description="of the kubeconfig; None: our own pod's, or the current one")
    namespace: str | None = Field(default=None, description="where jobs run; None: the context's, or our own pod's")
    ray_image: str | None = Field(default=None, description="of jobs' clusters; None: Ray's own")
    num_cpus: int | None = Field(default=None, ge=1, description="logical CPUs of the local Ray; None: the machine's")
    job_user: str | None = Field(default=None, description="whom Ray runs as where the server is root")
    keep_finished_days: float | None = Field(default=30, gt=0, description="None: for ever")
    keep_log_bytes: int | None = Field(default=None, gt=0, description="of all logs; the oldest jobs go first")

    @model_validator(mode="after")
    def _check_reach(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise Invalid("--tls-cert and --tls-key go together.", field="tls_cert")
        if not is_loopback(self.host) and not self.insecure and self.tls_cert is None:
            raise Invalid(
                f"--host {self.host} would send tokens in plain HTTP over a network. Give --tls-cert and --tls-key, "
                "put a TLS ingress in front of a loopback address, or say --insecure if you mean it.",
                field="host",
            )
        return self

    @model_validator(mode="after")
    def _check_sharing(self) -> "Settings":
        if self.shared_dir is not None and (self.database_url is None or self.database_url.startswith("sqlite")):
            raise Invalid(
                "--shared-dir is for several servers, and those need one database: give --database-url "
                "postgresql://… to each.",
                field="shared_dir",
            )
        if self.shared_dir is not None and self.ray_address is None and not self.kube:
            raise Invalid(
                "--shared-dir is for several servers, and those need one Ray that each can reach: give --ray-address, "
                "or --kube. "
                "A server's own Ray is of no use to the next one that leads.",
                field="shared_dir",
            )
        return self

    @model_validator(mode="after")
    def _check_place(self) -> "Settings":
        on_kube = {"context": self.context, "namespace": self.namespace, "ray_image": self.ray_image}
        on_machine = {
            "ray_address": self.ray_address,
            "ray_token_file": self.ray_token_file,
            "num_cpus": self.num_cpus,
            "job_user": self.job_user,
        }
        for name, value in (on_machine if self.kube else on_kube).items():
            if value is not None:
                option = "--" + name.replace("_", "-")
                needs = "is of a Ray on a machine, and there is --kube" if self.kube else "goes with --kube"
                raise Invalid(f"{option} {needs}.", field=name)
        return self

    @property
    def deployment_dir(self) -> Path:
        """Where keys, rules, blobs and the jobs' folders are."""
        return self.shared_dir or self.data_dir

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'raysvc.db'}"

    @property
    def policy_dir(self) -> Path:
        return self.policies or self.deployment_dir / "policies"

    @property
    def finished_jobs(self) -> timedelta | None:
        return None if self.keep_finished_days is None else timedelta(days=self.keep_finished_days)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach that address."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
