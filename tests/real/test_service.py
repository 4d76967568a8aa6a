"""A model on real vLLM, asked by the real openai package, while a server and a replica are killed."""

from contextlib import suppress
from pathlib import Path

import openai
import psutil
import pytest

import raysvc
from raysvc.domain.key import NewKey
from raysvc.domain.replica import Sighting
from raysvc.domain.service import EngineSpec, ServicePhase, ServiceSpec

from .platform_process import PlatformProcess, eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

# Two imports of vLLM and a model, on two cores that others use too.
START_S = 400.0


def spec(model: Path) -> ServiceSpec:
    return ServiceSpec(model=str(model), engine=EngineSpec(max_model_len=256, max_num_seqs=8, enforce_eager=True))


def processes(word: str) -> list[psutil.Process]:
    """Return the processes with that word in their command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def chat(client: openai.OpenAI, model: str = "tiny") -> int:
    """Ask once; return the tokens that it cost."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=5, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    return answer.usage.total_tokens


def stream(client: openai.OpenAI) -> int:
    """Ask for a stream; return the tokens that its last usage says."""
    tokens = 0
    chunks = client.completions.create(
        model="default/tiny", prompt="abc", max_tokens=4, stream=True, extra_body={"ignore_eos": True}
    )
    for chunk in chunks:
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    assert tokens == 7
    return tokens


def test_a_model_is_served_while_the_server_and_a_replica_die(server: PlatformProcess, model: Path) -> None:
    control = server.start()
    service = control.services.deploy("tiny", spec(model))
    ready = control.services.wait("tiny", START_S)
    assert (ready.phase, ready.ready) == (ServicePhase.HEALTHY, 1), ready.reason
    key = control.keys.create(NewKey(name="test"))
    assert service.openai_url is not None
    with openai.OpenAI(base_url=service.openai_url, api_key=key.secret, max_retries=3, timeout=60) as client:
        assert [it.id for it in client.models.list()] == ["default/tiny", "tiny"]
        used = [chat(client), stream(client), chat(client, "default/tiny")]
        _refusals(service.openai_url, client)

        server.kill()
        used += [chat(client), stream(client)]
        control = server.start()
        used += [chat(client) for _ in range(3)]

        _kill_replica(control, model)
        used += [chat(client)]

        spent = eventually(lambda: _counted(control, key.key.id, len(used)), 60)
        assert spent == sum(used)

        control.keys.revoke(key.key.id)
        eventually(lambda: _refused(client), 10)

    control.services.delete("tiny")
    assert control.services.wait("tiny", 120).phase is ServicePhase.GONE
    eventually(lambda: not processes(str(model)), 30)
    assert server.stop() == 0


def _refusals(url: str, client: openai.OpenAI) -> None:
    with (
        openai.OpenAI(base_url=url, api_key="rsk-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        chat(stranger)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        chat(client, "default/other")


def _kill_replica(control: raysvc.Client, model: Path) -> None:
    """Kill the replica's own process, see its engine end with it, and another one come."""
    (before,) = control.services.get("tiny").replicas
    uid = control.services.get("tiny").uid
    engines = processes(str(model))
    (replica,) = (each for each in processes(f"-{uid}-1:replica") if each.cmdline()[0].startswith("ray::"))
    replica.kill()
    eventually(lambda: not any(each.is_running() and each.status() != "zombie" for each in engines), 30)
    eventually(lambda: any(it.replica != before.replica and it.state == "READY" for it in _replicas(control)), START_S)
    eventually(lambda: control.services.get("tiny").phase is ServicePhase.HEALTHY, 30)


def _replicas(control: raysvc.Client) -> tuple[Sighting, ...]:
    return control.services.get("tiny").replicas


def _counted(control: raysvc.Client, key: str, requests: int) -> int | None:
    """Return the tokens in the ledger once it has that many requests of the key."""
    (total,) = (it for it in control.keys.usage() if it.of == key)
    if total.requests - total.failed < requests:
        return None
    assert total.requests - total.failed == requests
    return total.prompt_tokens + total.completion_tokens


def _refused(client: openai.OpenAI) -> bool:
    try:
        chat(client)
    except openai.AuthenticationError:
        return True
    return False
