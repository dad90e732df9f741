"""What `Idempotency-Key` means: a request that its client has named happens once.

The ledger decides, in the step that reserves: whoever gets the mark of a key and a header is the
one request, on all workers. Here the mark is made, whole answers are kept for a while, and one that
comes again is told what became of the first: docs/decisions/0008-idempotency.md.
"""

import hashlib

import msgspec

from budgets.answers import Mark, Repeat
from budgets.keys import Key
from budgets.session import Clock
from gateway.errors import IdempotencyConflict, InvalidRequest
from gateway.options import GatewayOptions
from gateway.request import ASGIMessage, Headers, Request
from pricing import dollars

HEADER = b"idempotency-key"
HEADER_BYTES_MAX = 255
KEPT_MS_MAX = 3_600_000  # the ledger has forgotten the mark by then
COST = b"x-comptroller-cost-usd"
# What the budget had left when the first was answered says nothing about now.
_OF_THEN = (b"x-ratelimit-", b"x-comptroller-remaining-", b"x-comptroller-scope", COST)


def mark_of(request: Request, key: Key, place: str, body: bytes) -> Mark | None:
    """The mark of a request that its client has named, None for any other. Names are a key's own:
    another key may use the same. `place`: where it goes, and counts. Raises InvalidRequest."""
    value = request.headers.get(HEADER)
    if value is None:
        return None
    sound = 0 < len(value) <= HEADER_BYTES_MAX and value.isascii()
    if not sound or not value.decode("ascii").isprintable():
        raise InvalidRequest(
            f"Idempotency-Key has 1 to {HEADER_BYTES_MAX} printable ASCII characters, as a UUID"
        )
    name = hashlib.sha256(key.id.encode() + b"\0" + value).hexdigest()
    asked = hashlib.sha256(place.encode() + b"\0")
    asked.update(body)
    return Mark(name, asked.digest())


class Recording:
    """The answer to one request as it leaves, until it is larger than an answer that is kept. It
    holds the pieces that are sent and recorded anyway, so that it costs no memory of its own."""

    __slots__ = ("_bytes_left", "_send", "headers", "pieces")

    def __init__(self, request: Request, bytes_max: int) -> None:
        self.headers: Headers = []
        self.pieces: list[bytes] | None = []
        self._bytes_left = bytes_max
        self._send = request.send
        request.send = self.send

    async def send(self, message: ASGIMessage) -> None:
        """Passes a message on. See ASGI."""
        if self.pieces is not None:
            if message["type"] == "http.response.start":
                self.headers = message["headers"]
            else:
                self._add(message["body"])
        await self._send(message)

    def _add(self, piece: bytes) -> None:
        assert self.pieces is not None
        self._bytes_left -= len(piece)
        self.pieces.append(piece)
        if self._bytes_left < 0:
            self.pieces = None


class _Kept(msgspec.Struct, frozen=True):
    headers: Headers
    body: bytes
    kept_at_ms: int


class Replays:
    """Answers of this process by the id of their request, the oldest first: at most so many, and
    so many bytes, for as long as the ledger knows whose they are."""

    def __init__(self, options: GatewayOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0

    def follow(self, options: GatewayOptions) -> None:
        """Other bounds, from the next answer on."""
        self._options = options

    @property
    def size(self) -> tuple[int, int]:
        """(answers, bytes) that are kept."""
        return len(self._kept), self._bytes

    def recording(self, request: Request) -> Recording:
        """Records the answer that this request will get, from now on."""
        return Recording(request, self._options.replay_answer_bytes_max)

    def keep(self, request_id: str, recording: Recording) -> None:
        """Keeps a whole answer, and lets go of the oldest instead."""
        if recording.pieces is None:
            return
        headers = [each for each in recording.headers if not each[0].startswith(_OF_THEN)]
        kept = _Kept(headers, b"".join(recording.pieces), self._clock.now_ms())
        self._kept[request_id] = kept
        self._bytes += len(kept.body)
        while self._kept and self._oldest_goes(kept.kept_at_ms):
            self._bytes -= len(self._kept.pop(next(iter(self._kept))).body)

    def _oldest_goes(self, now_ms: int) -> bool:
        options, oldest = self._options, next(iter(self._kept.values()))
        return (
            len(self._kept) > options.replay_answers_max
            or self._bytes > options.replay_bytes_max
            or oldest.kept_at_ms < now_ms - KEPT_MS_MAX
        )

    async def replay(self, request: Request, repeat: Repeat) -> None:
        """Answers a request that was made before as that one was answered, at no cost. Raises
        IdempotencyConflict where it cannot."""
        kept = self._kept.get(repeat.request_id)
        if kept is None or not repeat.same or repeat.state != "settled":
            raise conflict(repeat)
        headers = [*kept.headers, (b"x-comptroller-replayed", b"true"), _cost(repeat)]
        request.started = True
        await request.send({"type": "http.response.start", "status": 200, "headers": headers})
        await request.send({"type": "http.response.body", "body": kept.body})


def conflict(repeat: Repeat) -> IdempotencyConflict:
    """What the caller reads: whose the name is, what became of it, and what now."""
    id_, cost = repeat.request_id, f"${dollars(repeat.charged_nusd)}"
    headers = [(b"x-comptroller-request-id", id_.encode())]
    if not repeat.same:
        message = (
            f"this Idempotency-Key is that of request {id_}, which asked for something else: "
            "send a new key with a new request"
        )
        return IdempotencyConflict(422, message, "other_request", headers)
    if repeat.state == "running":
        message = (
            f"request {id_} with this Idempotency-Key is still running: "
            "send it again, with the same key, when that has ended"
        )
        return IdempotencyConflict(409, message, "in_flight", headers)
    message = (
        f"request {id_} with this Idempotency-Key {_BECAME[repeat.state].format(cost=cost)} "
        "The records have it under this id; a new Idempotency-Key asks, and pays, again."
    )
    return IdempotencyConflict(409, message, repeat.state, [*headers, _cost(repeat)])


_BECAME = {
    "settled": "has ended and cost {cost}; its answer is not kept here.",
    "unknown": "ended without an answer that says what it used; {cost} was charged for it.",
    "expired": "was lost with its worker; all that it had reserved, {cost}, was charged.",
}


def _cost(repeat: Repeat) -> tuple[bytes, bytes]:
    return COST, dollars(repeat.charged_nusd).encode()
