"""What of a request and of its answer leaves this process under each policy for payloads."""

import hashlib
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import gateway.events
from budgets.policy import PAYLOADS, Payloads
from gateway.events import AnswerRecord, RequestEvent, RequestRecord, provider_name

BODY = b'{"messages":[{"role":"user","content":"tell nobody"}]}'
SHA256 = hashlib.sha256(BODY).hexdigest()
BYTES_MAX = 12


def request_record() -> RequestRecord:
    """A request that nobody has encoded yet."""
    event = RequestEvent(
        request_id="id",
        scope="o/a",
        key_id="key-1",
        agent="",
        endpoint="/v1/chat/completions",
        provider="openai",
        model_requested="m",
        model="m",
        streamed=False,
        input_tokens_max=1,
        output_cap_asked=0,
        price_version="v",
        request_bytes=len(BODY),
        payload_state="full",
    )
    return RequestRecord(event, BODY)


@pytest.mark.parametrize(
    ("payloads", "body", "sha256"),
    [("full", BODY, ""), ("redacted", BODY, ""), ("hash", b"", SHA256), ("off", b"", "")],
)
def test_a_request_is_recorded_as_its_policy_says(
    payloads: Payloads, body: bytes, sha256: str
) -> None:
    """The event names the policy and keeps the size; the hash is that of the body under `full`;
    neither the body nor, under `off`, its hash is handed over where it may not be."""
    written, handed_over = request_record().written(payloads)
    event = json.loads(written)
    assert handed_over == body
    assert (event["payload_state"], event.get("body_sha256", "")) == (payloads, sha256)
    assert event["request_bytes"] == len(BODY)
    assert b"tell nobody" not in written


def test_a_request_is_encoded_once_for_a_policy_and_again_for_another() -> None:
    """Asked again for the same policy it gives the same bytes; whatever came before, the last
    policy is the one that holds."""
    record = request_record()
    for payloads in (*PAYLOADS, *reversed(PAYLOADS)):
        first = record.written(payloads)
        assert record.written(payloads) is first
        assert first == request_record().written(payloads)


@pytest.mark.parametrize("payloads", PAYLOADS)
def test_the_wait_is_in_the_event_of_the_grant(payloads: Payloads) -> None:
    """What was encoded before the wait is not used after it; a clock that was set back in between
    makes no negative time."""
    record = request_record()
    assert "waited_ms" not in json.loads(record.written(payloads)[0])
    for waited_ms, told in ((17, 17), (1_500, 1_500), (-3, None)):
        record.waited(waited_ms)
        event = json.loads(record.written(payloads)[0])
        assert event.get("waited_ms") == told
        assert event["payload_state"] == payloads


@given(
    pieces=st.lists(st.binary(max_size=8), max_size=6),
    payloads=st.sampled_from(PAYLOADS),
    counted=st.booleans(),
)
@settings(max_examples=400, deadline=None, database=None)
def test_an_answer_is_recorded_as_its_policy_says(
    pieces: list[bytes], payloads: Payloads, counted: bool
) -> None:
    """However it is cut into pieces: under `full` and `redacted` the body is its first bytes, the
    hash is of exactly those, the state names the policy, the cut, or that nothing came; pieces
    that nobody needs are not kept."""
    whole = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gateway.events, "RECORDED_BYTES_MAX", BYTES_MAX)
        record = AnswerRecord(payloads, counted)
        for piece in pieces:
            record.add(piece)
        recorded = whole[:BYTES_MAX]
        handed_over = payloads in ("full", "redacted")
        assert record.received_bytes == len(whole)
        assert record.is_cut == (len(whole) > BYTES_MAX)
        assert record.body == (recorded if handed_over else b"")
        assert record.kept == (recorded if handed_over or counted else b"")
        hashed = payloads == "hash" and whole
        state, sha256 = record.state()
        assert sha256 == (hashlib.sha256(recorded).hexdigest() if hashed else "")
        cut = record.is_cut and payloads == "full"
        assert state == ("truncated" if cut else payloads if whole else "")


def test_a_name_is_left_out_unless_it_is_one() -> None:
    """What a provider writes in the place of a model's name or a finish reason may be text of its
    own: only what has the form of a name is taken."""
    for name in ("", "gpt-5-mini-2026-01-01", "org/model:tag@1", "tool_calls", "x" * 128):
        assert provider_name(name) == name
    for text in ("tell nobody", "x" * 129, "caf\u00e9", "a\n", '{"a"}'):
        assert provider_name(text) == ""
