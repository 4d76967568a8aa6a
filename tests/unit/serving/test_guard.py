import asyncio
import hashlib
from typing import Any

import pytest
from guard import FREE, METERED

from .conftest import ANSWER, DOOR, SECRET, Message, Replica, answering

CHUNK = b'data: {"choices":[{"text":"a"}],"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}}\n\n'


def streaming(pieces: list[bytes], *, ends: bool = True) -> Any:
    async def app(_scope: Message, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not ends:
            raise asyncio.CancelledError
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


def test_a_key_opens_what_models_are_asked_through_and_the_answer_passes_unchanged(replica: Replica) -> None:
    for path in sorted(METERED | FREE):
        reply = replica.ask(path)
        assert (reply.status, reply.body) == (200, ANSWER), path


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer  {SECRET}"},
        {"x_api_key": SECRET},
        {"authorization": "Basic abc", "x_api_key": SECRET},
    ],
)
def test_a_key_comes_as_openai_or_anthropic_clients_send_it(replica: Replica, headers: dict[str, str]) -> None:
    assert replica.ask(**headers).status == 200


@pytest.mark.parametrize("headers", [{"host": "x"}, {"authorization": "Bearer sk-two"}, {"x_api_key": ""}])
def test_another_key_or_none_is_refused_in_openais_shape(replica: Replica, headers: dict[str, str]) -> None:
    reply = replica.ask(**headers)
    assert reply.status == 401
    assert reply.error["code"] == "invalid_api_key"
    assert reply.error.keys() == {"message", "type", "param", "code"}
    assert SECRET not in reply.body.decode()
    assert replica.spooled() == []


@pytest.mark.parametrize(
    "path", ["/", "/v1/load_lora_adapter", "/invocations", "/docs", "/v1/completions/", "/v1/../metrics", "/sleep"]
)
def test_what_is_not_on_the_list_is_not_there_even_with_a_key(replica: Replica, path: str) -> None:
    assert replica.ask(path).status == 404


def test_only_the_replica_sees_health_and_metrics(replica: Replica) -> None:
    assert replica.ask("/health").status == 403
    assert replica.ask("/metrics").status == 403
    assert replica.ask("/health", authorization=f"Bearer {DOOR}").status == 200


def test_before_the_first_table_requests_are_told_to_come_back(tmp_path: Any) -> None:
    reply = Replica(tmp_path).ask()
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


def test_a_key_that_is_taken_away_is_refused_within_half_a_second(replica: Replica) -> None:
    assert replica.ask().status == 200
    replica.table([])
    replica.now += 0.5
    assert replica.ask().status == 401


def test_a_key_that_was_just_made_is_waited_for(replica: Replica) -> None:
    replica.table([])
    new = {"id": "key2", "digest": hashlib.sha256(b"rsk-two").hexdigest()}
    replica.meanwhile = lambda: replica.table([new])
    assert replica.ask(authorization="Bearer rsk-two").status == 200
    assert [entry.key for entry in replica.spooled()] == ["key2"]


def test_one_that_does_not_come_is_refused_after_some_seconds(replica: Replica) -> None:
    began = replica.now
    assert replica.ask(authorization="Bearer rsk-two").status == 401
    assert began + 4 <= replica.now <= began + 5


def test_one_that_was_revoked_is_refused_at_once(replica: Replica) -> None:
    replica.ask()
    replica.table([])
    replica.ask()
    began = replica.now
    assert replica.ask().status == 401
    assert replica.now == began


def test_a_table_that_cannot_be_read_leaves_the_one_before_in_force(replica: Replica) -> None:
    assert replica.ask().status == 200
    (replica.folder / "keys.json").write_text("{")
    replica.now += 1
    assert replica.ask().status == 200


def test_an_expired_key_is_refused(replica: Replica) -> None:
    replica.keys(expires_at=replica.now + 60)
    assert replica.ask().status == 200
    replica.now += 60
    assert replica.ask().status == 401


def test_requests_a_minute_pass_in_a_burst_and_then_one_by_one(replica: Replica) -> None:
    replica.keys(requests_per_minute=3)
    assert [replica.ask().status for _ in range(4)] == [200, 200, 200, 429]
    refused = replica.ask()
    assert refused.headers["retry-after"] == "20"
    assert refused.error["code"] == "rate_limit_exceeded"
    replica.now += 20
    assert [replica.ask().status for _ in range(2)] == [200, 429]


def test_a_share_of_less_than_one_request_a_minute_opens_all_the_same(replica: Replica) -> None:
    replica.keys(requests_per_minute=0.5)  # two replicas share one a minute
    assert [replica.ask().status for _ in range(2)] == [200, 429]
    assert replica.ask().headers["retry-after"] == "120"
    replica.now += 120
    assert [replica.ask().status for _ in range(2)] == [200, 429]


def test_tokens_a_minute_are_charged_when_they_are_known(replica: Replica) -> None:
    replica.keys(tokens_per_minute=15)  # an answer costs 10
    assert [replica.ask().status for _ in range(3)] == [200, 200, 429]
    assert replica.ask().headers["retry-after"] == "20"  # 5 below zero, at a quarter a second


def test_a_budget_ends_and_a_new_lease_goes_on(replica: Replica) -> None:
    replica.keys(allowance=20)
    assert [replica.ask().status for _ in range(3)] == [200, 200, 429]
    assert replica.ask().error["code"] == "insufficient_quota"
    replica.keys(allowance=30)
    assert [replica.ask().status for _ in range(2)] == [200, 429]


def test_usage_is_in_the_spool_before_the_last_byte(replica: Replica) -> None:
    seen: list[int] = []

    async def inner(_scope: Message, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": ANSWER[:20], "more_body": True})
        seen.append(len(replica.spooled()))
        sending = send({"type": "http.response.body", "body": ANSWER[20:]})
        seen.append(len(replica.spooled()))
        await sending

    replica.inner = inner
    replica.ask()
    assert seen == [0, 1]


def test_a_unary_answer_is_metered_exactly(replica: Replica) -> None:
    replica.ask(authorization=f"Bearer {SECRET}", x_request_id="mine-1")
    (entry,) = replica.spooled()
    assert (entry.sequence, entry.key, entry.request_id, entry.epoch) == (1, "key1", "mine-1", replica.now)
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (200, 7, 3, False)


def test_a_stream_is_metered_by_its_last_usage(replica: Replica) -> None:
    replica.inner = streaming([CHUNK % (5 + n, n) for n in range(1, 9)] + [b"data: [DONE]\n\n"])
    replica.ask()
    (entry,) = replica.spooled()
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (200, 5, 8, False)


def test_a_stream_that_is_cut_is_metered_by_what_was_sent(replica: Replica) -> None:
    replica.inner = streaming([CHUNK % (5 + n, n) for n in range(1, 4)], ends=False)
    with pytest.raises(asyncio.CancelledError):
        replica.ask()
    (entry,) = replica.spooled()
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (499, 5, 3, False)


def test_a_unary_answer_that_nobody_waited_for_is_metered_by_a_guess(replica: Replica) -> None:
    async def slow(scope: Message, receive: Any, send: Any) -> None:
        replica.now += 2.0
        await answering(ANSWER)(scope, receive, send)

    async def given_up(scope: Message, receive: Any, send: Any) -> None:
        replica.now += 20.0
        await answering(b"null")(scope, receive, send)

    replica.inner = slow
    for _ in range(40):  # until the pace, 1.5 tokens a second, is known
        replica.ask()
    replica.inner = given_up
    replica.ask(authorization=f"Bearer {SECRET}", content_length="39")
    entry = replica.spooled()[-1]
    assert (entry.status, entry.prompt_tokens, entry.estimated) == (499, 10, True)
    assert 29 <= entry.completion_tokens <= 30


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"usage":{"input_tokens":4,"input_tokens_details":{"cached_tokens":9},"output_tokens":6}}', (4, 6)),
        (b'{"object":"list","usage":{"prompt_tokens": 8, "total_tokens": 8}}', (8, 0)),
        (b'{"text":"\\"usage\\":{\\"prompt_tokens\\":900}","usage":{"prompt_tokens":1,"completion_tokens":2}}', (1, 2)),
        (b'{"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":null}', (1, 2)),
    ],
)
def test_usage_is_read_as_each_api_writes_it(replica: Replica, body: bytes, tokens: tuple[int, int]) -> None:
    replica.inner = answering(body)
    replica.ask()
    (entry,) = replica.spooled()
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (*tokens, False)


def test_what_the_engine_refuses_costs_nothing(replica: Replica) -> None:
    replica.inner = answering(b'{"error":{"message":"no"}}', status=400)
    replica.ask(authorization=f"Bearer {SECRET}", content_length="4000")
    (entry,) = replica.spooled()
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (400, 0, 0, False)


def test_a_request_that_the_engine_fails_costs_nothing(replica: Replica) -> None:
    async def failing(_scope: Message, _receive: Any, _send: Any) -> None:
        raise RuntimeError

    replica.inner = failing
    with pytest.raises(RuntimeError):
        replica.ask(authorization=f"Bearer {SECRET}", content_length="4000")
    (entry,) = replica.spooled()
    assert (entry.status, entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (500, 0, 0, False)


def test_a_body_in_chunks_whose_answer_tells_no_usage_is_metered_by_its_length(replica: Replica) -> None:
    async def inner(scope: Message, receive: Any, send: Any) -> None:
        for _ in range(3):
            await receive()
        await answering(b"\x00\x01")(scope, receive, send)  # an embedding in bytes

    replica.inner, replica.body = inner, b"x" * 400
    replica.ask()
    (entry,) = replica.spooled()
    assert (entry.status, entry.prompt_tokens, entry.estimated) == (200, 300, True)


def test_each_answer_has_a_request_id_and_odd_ones_are_replaced(replica: Replica) -> None:
    assert replica.ask(authorization=f"Bearer {SECRET}", x_request_id="a b\n").headers["x-request-id"].isalnum()
    first, second = (replica.ask().headers["x-request-id"] for _ in range(2))
    assert first != second


def test_the_gauge_counts_what_is_in_flight_ended_and_turned_away(replica: Replica) -> None:
    flying: list[int] = []

    async def inner(scope: Message, receive: Any, send: Any) -> None:
        flying.append(_gauge(replica)[0])
        await answering(ANSWER)(scope, receive, send)

    replica.inner = inner
    replica.ask()
    replica.ask(host="x")
    assert flying == [1]
    assert _gauge(replica) == [0, 1, 1]


def test_websockets_are_closed(replica: Replica) -> None:
    sent: list[Message] = []

    async def run() -> None:
        async def send(message: Message) -> None:
            sent.append(message)

        await replica.guard({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)

    asyncio.run(run())
    assert sent[0]["type"] == "websocket.close"


def test_a_key_keeps_what_it_has_used_when_its_limits_change(replica: Replica) -> None:
    replica.keys(requests_per_minute=2)
    assert [replica.ask().status for _ in range(2)] == [200, 200]
    replica.keys(requests_per_minute=3)  # a second has passed: a twentieth more
    assert [replica.ask().status for _ in range(2)] == [200, 429]


def test_two_keys_have_limits_of_their_own(replica: Replica) -> None:
    grants = [
        {"id": name, "digest": hashlib.sha256(name.encode()).hexdigest(), "requests_per_minute": 1} for name in "ab"
    ]
    replica.table(grants)
    assert [replica.ask(x_api_key=name).status for name in ("a", "a", "b")] == [200, 429, 200]


def _gauge(replica: Replica) -> list[int]:
    return list(memoryview((replica.folder / "gauge").read_bytes()).cast("q"))
