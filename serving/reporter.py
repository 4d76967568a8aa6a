"""The replica's talk with the control plane: where it answers and what it metered, against which keys open it.

One call each second and a half, from a thread of its own. Who does not answer is asked again; the replica serves on
with the keys that it has, and usage waits in the spool.
"""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spool import Entry, SpoolReader

PERIOD_S = 1.5
TIMEOUT_S = 10.0
# Each server's proxy hears of a replica that goes within a second or two.
LINGER_S = 3.0
# What the control plane takes in one call (ReplicaReport.usage).
MOST = 1000
# A proxy of the environment must not see the token.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Reporter:
    """`about` is what a report says of the replica: service, revision, replica, host, port.

    `link` is a file with the control plane's `url` and `token`, read anew for each call, since either may change.
    """

    def __init__(self, about: dict[str, Any], folder: Path, link: Path, flying: Callable[[], int]) -> None:
        self._about = about
        self._folder = folder
        self._link = link
        self._flying = flying
        self._spool = SpoolReader(folder / "spool")
        self._version: str | None = None
        self._spent: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._trouble = ""
        self._full = False

    def start(self) -> None:
        """Have the keys fetched, then report READY until `stop`. Returns after the first call, whatever came of it."""
        self.call("STARTING")
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def stop(self, seconds: float, linger: float = LINGER_S) -> None:
        """Report DRAINING, wait for the requests in flight, and ship what they used; at most so many seconds.

        Until the proxy has heard of it, requests still come: it lingers, unless nobody was there to hear it.
        """
        self._over.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT_S)
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            answered = self.call("DRAINING")
            idle = not self._flying() and not (answered and self._left())
            if idle and (not answered or time.monotonic() > began + linger):
                return
            time.sleep(0.2)

    def ship(self) -> bool:
        """Ship the spool of a replica that is gone; return whether nothing is left."""
        while self._left():
            if not self.call("DRAINING"):
                return False
        return True

    def call(self, state: str) -> bool:
        """Make one call; return whether it was answered."""
        try:
            batch = [entry for entry, _ in zip(self._spool.entries(), range(MOST), strict=False)]
            self._full = len(batch) == MOST
            report = {
                **self._about,
                "state": state,
                "running": self._flying(),
                "keys_version": self._version,
                "usage": [usage(entry) for entry in batch],
            }
            orders = self._post(report)
            self._obey(orders, batch)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self._say(f"the control plane does not answer: {error}")
            return False
        self._say("")
        return True

    def _run(self) -> None:
        while True:
            again_at_once = self.call("READY") and self._full
            if self._over.wait(0.0 if again_at_once else PERIOD_S):
                return

    def _left(self) -> int:
        return sum(1 for _ in zip(self._spool.entries(), range(MOST), strict=False))

    def _post(self, report: dict[str, Any]) -> dict[str, Any]:
        link = json.loads(self._link.read_text())
        request = urllib.request.Request(  # noqa: S310 the address is the platform's own
            f"{link['url']}/v1/replicas/report",
            data=json.dumps(report).encode(),
            headers={"Authorization": f"Bearer {link['token']}", "Content-Type": "application/json"},
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except urllib.error.HTTPError as error:
            error.close()
            raise

    def _obey(self, orders: dict[str, Any], batch: Iterable[Entry]) -> None:
        through = int(orders["usage_through"])
        for entry in batch:
            if self._spool.through < entry.sequence <= through:
                self._spent[entry.key] = self._spent.get(entry.key, 0) + entry.tokens
        self._spool.forget(through)
        if (keys := orders.get("keys")) is not None:
            table = {"keys": [self._grant(key) for key in keys]}
            draft = self._folder / "keys.new"
            draft.write_text(json.dumps(table))
            draft.replace(self._folder / "keys.json")
        self._version = orders["keys_version"]

    def _grant(self, key: dict[str, Any]) -> dict[str, Any]:
        """Return a key as the guard knows it: an instant as seconds, a budget as a bound on all it ever uses here."""
        left, expires = key.get("tokens_left"), key.get("expires_at")
        return {
            "id": key["id"],
            "digest": key["digest"],
            "expires_at": None if expires is None else datetime.fromisoformat(expires).timestamp(),
            "requests_per_minute": key.get("requests_per_minute"),
            "tokens_per_minute": key.get("tokens_per_minute"),
            "allowance": None if left is None else self._spent.get(key["id"], 0) + left,
        }

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            print(trouble or "the control plane answers", flush=True)
        self._trouble = trouble


def usage(entry: Entry) -> dict[str, Any]:
    """Return an entry as the report has it."""
    fields = entry._asdict()
    fields["at"] = datetime.fromtimestamp(fields.pop("epoch"), tz=UTC).isoformat()
    return fields
