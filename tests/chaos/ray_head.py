"""A Ray that no server owns: what `--ray-address` names."""

import asyncio
import time
from pathlib import Path

from raysvc.backends.local import LocalConfig, head
from raysvc.backends.local.confine import confine
from raysvc.backends.local.session import connect
from raysvc.backends.rayjob.api import RayApi
from raysvc.errors import Unavailable
from tests.chaos.process import lasting_port

START_S = 240.0
_POLL_S = 0.1


class RayHead:
    """Started and waited for by `start`, ended by `end`. Its state is where `Scene.ray` looks for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = LocalConfig(data_dir=folder, num_cpus=4)
        self._state: head.HeadState | None = None

    def start(self) -> None:
        area = confine(self._config)
        self._state = head.start(self._config, head.HeadFiles(self.folder), area, lasting_port())
        asyncio.run(self._wait())

    @property
    def settings(self) -> dict[str, str]:
        """What a server must be told to use it."""
        assert self._state is not None, "not started"
        return {"ray_address": self._state.url, "ray_token_file": str(self._token)}

    def end(self) -> None:
        if self._state is not None:
            head.end(self._state)

    @property
    def _token(self) -> Path:
        assert self._state is not None, "not started"
        return Path(self._state.root) / "token"

    async def _wait(self) -> None:
        assert self._state is not None
        api = RayApi(self._state.url, self._token.read_text())
        deadline = time.monotonic() + START_S
        try:
            while True:
                try:
                    await connect(api)
                except Unavailable:
                    assert time.monotonic() < deadline, head.HeadFiles(self.folder).log_tail()
                    await asyncio.sleep(_POLL_S)
                else:
                    return
        finally:
            await api.close()
