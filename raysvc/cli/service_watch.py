"""Watching a service from a terminal."""

from raysvc.cli.exit import Code
from raysvc.cli.output import say
from raysvc.client.client import Client
from raysvc.client.service import Service
from raysvc.domain.reason import ReasonCode
from raysvc.domain.service import ServicePhase


def wait(client: Client, service: Service, timeout: float | None = None) -> Service:
    """Say the service's state whenever it is another, until nothing is on its way, and return it.

    Ctrl-C leaves it going on; raises TimeoutError.
    """
    said = ""

    def look(found: Service) -> None:
        nonlocal said
        if (now := state(found)) != said:
            said = now
            say(f"{found.name} {now}")

    return client.services.wait(service, timeout, project=service.project, on_look=look)


def state(service: Service) -> str:
    """Return the service's state in a few words."""
    why = "" if service.reason.title.upper() == service.phase else f": {service.reason.title}"
    detail = f" ({service.reason.message})" if service.reason.message else ""
    return f"{service.phase}{why}{detail}"


def outcome(service: Service) -> Code:
    """Say where the service is to be found, or why it is not, and return the exit code for it."""
    if service.phase is ServicePhase.GONE:
        return Code.OK
    if service.phase is ServicePhase.HEALTHY and service.reason.code is not ReasonCode.ROLLED_BACK:
        if service.openai_url is not None:
            base, model = service.openai_url, service.models[-1]
            say(f"OpenAI clients: base_url {base}, model {model}, a key of `raysvc key create`.")
        return Code.OK
    say(f"Why: raysvc service explain {service.name}    Output: raysvc service logs {service.name}")
    return Code.FAILED
