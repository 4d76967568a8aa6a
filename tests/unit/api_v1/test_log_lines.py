"""What requests say must not draw on the terminal of who reads the log."""

import pytest

from raysvc.bootstrap.log import shown


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "a\rb", "\x07", "\x7f", "\u202etxt", "\u2028"])
def test_characters_that_draw_are_escaped(text: str) -> None:
    event = shown(
        None, "info", {"event": "request", "path": f"/v1/{text}", "exception": f"E: {text}\n  line", "status": 1}
    )
    assert event["path"].isprintable()
    assert event["exception"].replace("\n", "").isprintable()
    assert event["status"] == 1


def test_ordinary_text_is_as_it_was() -> None:
    event = {"event": "request", "path": "/v1/jobs/größe", "exception": "Traceback\n\tline"}
    assert shown(None, "info", dict(event)) == event
