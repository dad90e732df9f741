"""The events that the path of a request writes, as the worker's part of an outbox entry, and what
of prompts and answers goes with them.

The ledger adds seq, time, granted output and the counters that it touched. Meters have
OpenTelemetry's GenAI names where it has one. Encoded once, in C, and never parsed on the hot path.
The payload policies `hash` and `off` are applied here, before anything leaves the process:
`redacted` is the recorder's to apply, and so is the hash of what it has.
"""

import hashlib
import re
from dataclasses import fields
from operator import attrgetter
from typing import Literal, TypeVar

import msgspec

from budgets.keys import Key, Work
from budgets.policy import Dimension, Payloads
from pricing import Meters

# "truncated" is `full` and longer than RECORDED_BYTES_MAX. What is cut under another policy keeps
# its name, so that the recorder never takes for public what it has to redact. "dropped" is one
# for which the disk had no room while its settlement waited there.
PayloadState = Payloads | Literal["", "truncated", "dropped"]
RECORDED_BYTES_MAX = 8 * 1024 * 1024
_HANDED_OVER = ("full", "redacted")
# Models' names as providers write them: provider/model:tag@version.
_NAME = re.compile(r"[A-Za-z0-9._:/@+#-]{1,128}")


class RequestEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`llm_request`: what was asked, before it is sent. `payload_state` is the policy that held;
    `body_sha256` (hex) is there under `hash` only; `waited_ms` is the time in the waiting line
    until the ledger was asked for what it then granted; `input_tokens_max` is the bound of the
    input, without what was learned of its route. A call that is tried several times is as many
    requests: `correlation_id` is then the id of the first, and empty in that one's own events. From
    `workflow` on: the work of its key (`worked`)."""

    request_id: str
    scope: str
    key_id: str
    agent: str
    endpoint: str
    provider: str
    model_requested: str
    model: str
    streamed: bool
    input_tokens_max: int
    output_cap_asked: int
    price_version: str
    request_bytes: int
    payload_state: PayloadState = ""
    body_sha256: str = ""
    waited_ms: int = 0
    correlation_id: str = ""
    workflow: str = ""
    workflow_version: int = 0
    run_id: str = ""
    step_id: str = ""
    attempt: int = 0


class ResponseEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`llm_response`: how it ended. `usage_source` is provider, counted, reserved, none (settled at
    zero) or released; `charged_nusd` is what this says was booked. `payload_state` is empty where
    no answer came; `body_sha256`, `correlation_id` and the work as in RequestEvent. `service_tier`
    served, `reported_nusd` is what the provider says that it bills and `computed_nusd` what its
    meters come to then; the rest of what the price depends on is in `detail`
    (gateway.facts_record)."""

    request_id: str
    scope: str
    key_id: str
    agent: str
    endpoint: str
    provider: str
    model_requested: str
    model: str
    streamed: bool
    status: int
    usage_source: str
    reserved_nusd: int
    charged_nusd: int
    price_version: str
    model_served: str = ""
    finish_reason: str = ""
    text_input: int = 0
    cached_input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    image_input: int = 0
    text_output: int = 0
    reasoning_output: int = 0
    audio_output: int = 0
    tool_calls: int = 0
    overrun: bool = False
    error: str = ""
    first_byte_ms: int = 0
    duration_ms: int = 0
    response_bytes: int = 0
    payload_state: PayloadState = ""
    body_sha256: str = ""
    detail: str = ""
    video_input: int = 0
    image_output: int = 0
    search_calls: int = 0
    audio_ms: int = 0
    pages: int = 0
    characters: int = 0
    service_tier: str = ""
    reported_nusd: int | None = None
    computed_nusd: int | None = None
    correlation_id: str = ""
    workflow: str = ""
    workflow_version: int = 0
    run_id: str = ""
    step_id: str = ""
    attempt: int = 0


class RefusalEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`budget_exceeded`: refusals of one key by one scope for one reason within about a second.
    `scope` is that of the requests, `error` the reason that the callers read, `detail` a
    RefusalDetail as JSON; what is said of a request is said of the first of them. Where there were
    too many kinds at once, one such event counts the rest of an organisation, without names."""

    scope: str
    error: str
    detail: str
    request_id: str = ""
    key_id: str = ""
    agent: str = ""
    endpoint: str = ""
    provider: str = ""
    model_requested: str = ""
    model: str = ""
    status: int = 0
    workflow: str = ""
    workflow_version: int = 0
    run_id: str = ""
    step_id: str = ""
    attempt: int = 0


class RefusalDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many refusals, the times of the first and the last by the worker's clock, and the `scope`
    that refused. Where one of its limits did: `asked` by the first, and what was `free`, in the
    ledger's unit of the dimension (usd: nano-dollars)."""

    count: int
    first_ms: int
    last_ms: int
    scope: str = ""
    dimension: str = ""
    window: str = ""
    asked: int | None = None
    free: int | None = None


class KeyEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`key_minted` and `key_revoked`: never a secret. Where a key did it, `by` is its id and
    `triggered_by` its own scope."""

    key_id: str
    name: str
    scope: str
    by: str
    agent: str = ""
    triggered_by: str = ""


class PolicyEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`budget_changed`: the ledger adds the seq that names the new limits. `by` and `triggered_by`
    as in KeyEvent."""

    scope: str
    by: str
    triggered_by: str = ""


class AllotmentEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`allotment_opened`, and `allotment_closed` where nobody else says why: moved to a key. `by`
    and `triggered_by` as in KeyEvent."""

    scope: str
    by: str
    triggered_by: str
    key_id: str
    expires_at_ms: int
    allotted_nusd: int = 0
    allotted_tokens: int = 0


_METERS = tuple(each.name for each in fields(Meters))
_counts = attrgetter(*_METERS)
_encoder = msgspec.json.Encoder()
encode = _encoder.encode


OfCall = TypeVar("OfCall", RequestEvent, ResponseEvent)


def worked(event: OfCall, work: Work | None) -> OfCall:
    """The event of a call, with what its key works on. Most keys work on nothing: theirs are as
    they were."""
    if work is None:
        return event
    return msgspec.structs.replace(
        event,
        workflow=work.workflow,
        workflow_version=work.workflow_version,
        run_id=work.run_id,
        step_id=work.step_id,
        attempt=work.attempt,
    )


class RequestRecord:
    """What the ledger gets to record of a request; `event` is as under `full`. A request is
    encoded when its policy is known, and again only if that changes, or the request has waited or
    was counted."""

    __slots__ = ("_body", "_event", "_payloads", "_sha256", "_written")

    def __init__(self, event: RequestEvent, body: bytes) -> None:
        self._event = event
        self._body = body
        self._payloads: Payloads | None = None
        self._sha256 = ""
        self._written: tuple[bytes, bytes]  # there as soon as _payloads is

    def waited(self, waited_ms: int) -> None:
        """The request has stood in line for so long by now."""
        self._event = msgspec.structs.replace(self._event, waited_ms=max(0, waited_ms))
        self._payloads = None

    def counted(self, input_tokens_max: int) -> None:
        """The input is bounded by its tokens by now."""
        self._event = msgspec.structs.replace(self._event, input_tokens_max=input_tokens_max)
        self._payloads = None

    def written(self, payloads: Payloads) -> tuple[bytes, bytes]:
        """(event, body) under this policy: `record_for` of Ledger.reserve."""
        if payloads == self._payloads:
            return self._written
        self._payloads = payloads
        if payloads == "full":
            self._written = written = (encode(self._event), self._body)
        else:
            self._written = written = self._reduced(payloads)
        return written

    def _reduced(self, payloads: Payloads) -> tuple[bytes, bytes]:
        if payloads == "hash" and not self._sha256:
            self._sha256 = hashlib.sha256(self._body).hexdigest()
        sha256 = self._sha256 if payloads == "hash" else ""
        event = msgspec.structs.replace(self._event, payload_state=payloads, body_sha256=sha256)
        return encode(event), self._body if payloads in _HANDED_OVER else b""


class AnswerRecord:
    """What is kept of an answer while it comes: its first RECORDED_BYTES_MAX bytes, or only their
    hash, as the policy says. Those that are `counted` are kept in this process whatever it says,
    because the tokens in them may have to be counted."""

    __slots__ = ("_hashed", "_keeps", "_payloads", "_pieces", "hands_over", "received_bytes")

    def __init__(self, payloads: Payloads, counted: bool) -> None:
        self._payloads = payloads
        self._pieces: list[bytes] = []
        self.hands_over = hands_over = payloads in _HANDED_OVER
        self._keeps = hands_over or counted
        self._hashed = hashlib.sha256() if payloads == "hash" else None
        self.received_bytes = 0

    def add(self, piece: bytes) -> None:
        """The next bytes as they came. Hashed as they come: at the end of a long answer that would
        hold up everybody else."""
        self.received_bytes = received = self.received_bytes + len(piece)
        if received > RECORDED_BYTES_MAX:
            beyond = received - RECORDED_BYTES_MAX
            if beyond >= len(piece):
                return
            piece = piece[:-beyond]
        if self._keeps:
            self._pieces.append(piece)
        if self._hashed is not None:
            self._hashed.update(piece)

    @property
    def is_cut(self) -> bool:
        """Whether more came than is kept or hashed."""
        return self.received_bytes > RECORDED_BYTES_MAX

    @property
    def kept(self) -> bytes:
        """The bytes for counting."""
        return b"".join(self._pieces)

    @property
    def body(self) -> bytes:
        """The bytes for the ledger."""
        return b"".join(self._pieces) if self.hands_over else b""

    def state(self) -> tuple[PayloadState, str]:
        """(payload_state, body_sha256) of ResponseEvent. The hash, under `hash` and where anything
        came, is of what `body` would be under `full`."""
        if not self.received_bytes:
            return "", ""
        if self._hashed is not None:
            return "hash", self._hashed.hexdigest()
        if self.received_bytes > RECORDED_BYTES_MAX and self._payloads == "full":
            return "truncated", ""
        return self._payloads, ""


def without_body(event: bytes) -> bytes:
    """A ResponseEvent, encoded, that says that its answer was left out."""
    told = msgspec.json.decode(event, type=ResponseEvent)
    return encode(msgspec.structs.replace(told, payload_state="dropped", body_sha256=""))


def provider_name(text: str) -> str:
    """A name that an answer gave, as its model's, for where no payload may be recorded. A provider
    could write anything in its place: what has not the form of a name is left out."""
    return text if _NAME.fullmatch(text) else ""


class KeyEvents:
    """Key life as events; `by` is who acts, `triggered_by` its own scope where that is a key."""

    def __init__(self, by: str, triggered_by: str = "") -> None:
        self._by = by
        self._triggered_by = triggered_by

    def minted(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return self._of_key(key)

    def budget_changed(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return encode(PolicyEvent(key.key_scope, self._by, self._triggered_by))

    def revoked(self, key: Key) -> bytes:
        """See budgets.keys.KeyEvents."""
        return self._of_key(key)

    def allotted(self, key: Key, amounts: dict[Dimension, int]) -> bytes:
        """See budgets.minting.MintingEvents."""
        return encode(
            AllotmentEvent(
                scope=key.key_scope,
                by=self._by,
                triggered_by=self._triggered_by,
                key_id=key.id,
                expires_at_ms=key.expires_at_ms or 0,
                allotted_nusd=amounts.get("usd", 0),
                allotted_tokens=amounts.get("tokens", 0),
            )
        )

    def _of_key(self, key: Key) -> bytes:
        by, triggered_by = self._by, self._triggered_by
        return encode(KeyEvent(key.id, key.name, key.scope, by, key.agent, triggered_by))


def acts_of(minter: Key) -> KeyEvents:
    """What a key does to others, as events."""
    return KeyEvents(minter.id, minter.key_scope)


def meter_fields(meters: Meters | None) -> dict[str, int]:
    """The meters of a response event: each has its column."""
    if meters is None:
        return {}
    return dict(zip(_METERS, _counts(meters), strict=True))
