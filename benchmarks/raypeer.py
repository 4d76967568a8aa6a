"""Ray's own job server, on the very head that the server under test runs: the peer of `submit` and `echo`."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

START_S = 60.0


class RayPeer:
    """Speaks to the head's dashboard with its token, past raysvc."""

    def __init__(self, data_dir: Path) -> None:
        self._local = data_dir / "local"
        self._token = data_dir / "work" / "token"
        self._http = httpx.Client(timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_S
        while True:
            try:
                port = json.loads((self._local / "head.json").read_text())["port"]
                self._http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
                self._http.headers["authorization"] = f"Bearer {self._token.read_text().strip()}"
                self._http.get("/api/jobs/").raise_for_status()
            except (OSError, ValueError, httpx.HTTPError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submits_per_s(self, count: int) -> float:
        """Submit that many jobs one after the other, wait for their ends outside the clock, and return the rate."""
        began = time.perf_counter()
        ids = [self.submit() for _ in range(count)]
        rate = count / (time.perf_counter() - began)
        for submission_id in ids:
            self.wait(submission_id)
        return rate

    def submit(self, entrypoint: str = "true") -> str:
        """Return the submission id that Ray gave."""
        reply = self._http.post("/api/jobs/", json={"entrypoint": entrypoint}).raise_for_status()
        return str(reply.json()["submission_id"])

    def tail_of(self, submission_id: str) -> tuple[str, dict[str, str]]:
        """Return the URL of Ray's WebSocket that follows a job's log, and the headers that open it."""
        url = str(self._http.base_url).replace("http", "ws", 1).rstrip("/")
        return f"{url}/api/jobs/{submission_id}/logs/tail", {"Authorization": self._http.headers["authorization"]}

    def wait(self, submission_id: str) -> dict[str, Any]:
        """Return the job's details when it has ended."""
        while True:
            details: dict[str, Any] = self._http.get(f"/api/jobs/{submission_id}").json()
            if details["status"] in {"SUCCEEDED", "FAILED", "STOPPED"}:
                return details
            time.sleep(0.02)
