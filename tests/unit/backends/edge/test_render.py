import json
from pathlib import Path

import pytest

from raysvc.backends.edge.render import EdgeConfig, files
from raysvc.ports import Route, Target

GOLDEN = Path(__file__).parent / "golden"
UID, OTHER = "0" * 16, "1" * 16


def target(port: int = 9000, host: str = "127.0.0.1") -> Target:
    return Target(replica="r", host=host, port=port)


def config(*routes: Route, control: str = "http://127.0.0.1:8500", host: str = "127.0.0.1") -> EdgeConfig:
    return EdgeConfig(host=host, port=8600, control=control, routes=routes)


def test_two_services_one_without_replicas() -> None:
    routes = (
        Route(service=UID, models=("default/chat", "chat"), targets=(target(9000), target(9001, "fd00::2"))),
        Route(service=OTHER, models=("other/chat",), targets=()),
    )
    rendered = files(config(*routes))
    assert rendered["haproxy.cfg"] == (GOLDEN / "two_services.cfg").read_text()
    assert rendered["models.map"] == (GOLDEN / "two_services.map").read_text()


@pytest.mark.parametrize("host", ["evil\n    server x 1.2.3.4:5", "a b", "", "-x", "${HOME}", "a;b", "a#b", '"'])
def test_what_a_replica_says_of_its_host_cannot_become_configuration(host: str) -> None:
    plain = files(config(Route(service=UID, models=("chat",), targets=())))
    assert files(config(Route(service=UID, models=("chat",), targets=(target(host=host),)))) == plain


@pytest.mark.parametrize("model", ["a b", "a\nb", "", "x" * 300])
def test_a_model_name_that_no_service_can_have_is_left_out(model: str) -> None:
    assert files(config(Route(service=UID, models=(model, "chat"))))["models.map"] == f"chat s-{UID}\n"


def test_errors_are_whole_http_answers_in_openais_shape() -> None:
    for name, text in files(config()).items():
        if name.endswith(".http"):
            head, body = text.split("\r\n\r\n")
            assert f"Content-Length: {len(body.encode())}" in head
            assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


def test_a_control_plane_with_tls_is_asked_with_tls() -> None:
    rendered = files(config(control="https://127.0.0.1:8500"))["haproxy.cfg"]
    assert "server control 127.0.0.1:8500 ssl verify none" in rendered
