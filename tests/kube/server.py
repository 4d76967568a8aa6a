"""`raysvc up --kube` as a process of this machine, and Ray's own client against any raysvc."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import raysvc
from raysvc.client.discovery import local_server
from tests.real.platform_process import eventually


class KubeServer:
    def __init__(self, data_dir: Path, kubeconfig: Path, image: str, *options: str) -> None:
        self.data_dir = data_dir
        self._environment = {**clean_environment(), "KUBECONFIG": str(kubeconfig)}
        self._options = ("--port", "0", "--data-dir", str(data_dir), "--ray-image", image, *options)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> raysvc.Client:
        command = [sys.executable, "-m", "raysvc.cli", "up", "--kube", *self._options]
        with (self.data_dir.parent / "up.log").open("ab") as log:
            process = self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        announced = self.data_dir / "server.json"
        eventually(lambda: announced.exists() and str(process.pid) in announced.read_text(), 60)
        server = local_server(self.data_dir)
        return raysvc.Client(server.url, server.token)

    def end(self, number: signal.Signals) -> None:
        """Signal it and wait for its end. May be repeated."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)

    def ray(self, *arguments: str) -> str:
        """Run Ray's own command line against the server."""
        server = local_server(self.data_dir)
        return ray(server.url, str(server.token), *arguments)


def ray(url: str, token: str, *arguments: str) -> str:
    """Run Ray's own command line against a raysvc; return all that it said."""
    environment = clean_environment() | {"RAY_ADDRESS": url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [str(Path(sys.executable).with_name("ray")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYSVC_"))}
