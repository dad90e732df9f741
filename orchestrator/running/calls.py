"""Calls to the gateway, each with the key of its attempt: what they answer, or what that means for
the attempt."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.kinds.contract import Answer, BudgetUsedUp, Held, StepFailed, UsedUpForNow
from orchestrator.running.bodies import decoded, encoded, too_long
from orchestrator.running.streamed import ASKS, Completion
from orchestrator.running.wire import Reading, Wire, WireBroken, WireSilent

REQUEST_BYTES_MAX = 8 * 2**20
"""As the gateway's own bound (`gateway.body_bytes_max`)."""
ANSWER_BYTES_MAX = 16 * 2**20
EVENT_STREAM = "text/event-stream"
SHOWN_CHARS_MAX = 2_000
AGAIN_MS = 1_000
"""Where nobody says when."""
AGAIN_MS_MAX = 60_000
FROZEN_MS = 5_000
_PASSING = frozenset((408, 425, 429))
_HELD_BY_BUDGETS = frozenset(("exhausted", "held", "closing"))
_AWAY = frozenset(("ledger_unavailable", "gateway_stopping"))
_NO_BUDGETS = frozenset(("run_halted", "route_stopped", "request_too_large"))


class GatewayCalls:
    """Of all attempts of a process."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def close(self) -> None:
        """Ends the connections."""
        await self._wire.close()

    async def ask(
        self,
        base_url: str,
        secret: str,
        path: str,
        body: Mapping[str, Any],
        idempotency_key: str,
        timeout_s: float,
        said: Callable[[str], None] | None = None,
    ) -> Answer:
        """POSTs to `base_url` + `path`: an answer with 2xx. `idempotency_key`: 1 to 255 printable
        ASCII characters. `said`: takes the text of a chat completion while it comes; what is
        answered is the same with and without. Raises BudgetUsedUp, Held, StepFailed."""
        asked = encoded(body if said is None else {**body, **ASKS}, REQUEST_BYTES_MAX)
        headers = {
            "authorization": f"Bearer {secret}",
            "content-type": "application/json",
            "idempotency-key": idempotency_key,
        }
        url = base_url.rstrip("/") + path
        try:
            async with asyncio.timeout(timeout_s):
                reading = await self._wire.post(url, headers, asked, timeout_s)
                answer = await _answer(reading, said)
        except (TimeoutError, WireSilent):
            raise StepFailed(f"the gateway did not answer within {timeout_s:g} s") from None
        except WireBroken as error:
            raise StepFailed(
                f"the gateway at {base_url} cannot be reached, or its answer broke off ({error}): "
                "is it up?"
            ) from None
        if 200 <= answer.status < 300:
            return answer
        raise meaning(answer)


async def _answer(reading: Reading, said: Callable[[str], None] | None) -> Answer:
    """Streamed where it is: a refusal comes whole."""
    is_stream = reading.headers.get("content-type", "").startswith(EVENT_STREAM)
    try:
        if said is not None and is_stream and reading.status == 200:
            return Answer(reading.status, reading.headers, await _streamed(reading, said))
        data = bytearray()
        while piece := await reading.read():
            data += piece
            if len(data) > ANSWER_BYTES_MAX:
                raise too_long(ANSWER_BYTES_MAX)
        return Answer(reading.status, reading.headers, decoded(bytes(data)))
    finally:
        reading.abort()


async def _streamed(reading: Reading, said: Callable[[str], None]) -> Any:
    completion = Completion()
    while piece := await reading.read():
        if text := completion.feed(piece):
            said(text)
    return completion.body()


def meaning(answer: Answer) -> StepFailed | Held:
    """Of an answer that is none of 2xx."""
    said = _error(answer.body)
    message = str(said.get("message") or answer.body or "")[:SHOWN_CHARS_MAX]
    if said.get("code") == "budget_exceeded" or answer.status == 402:  # its status is a setting
        return _refused(message, said)
    if held := _held(answer, said, message):
        return held
    if answer.status == 401:
        return StepFailed(f"its key was revoked, or has expired: {message}", is_final=True)
    told = f"the gateway answered {answer.status}: {message}"
    # After a conflict, the next attempt has a key of its own.
    is_passing = answer.status in _PASSING or said.get("code") == "idempotency_conflict"
    return StepFailed(told, is_final=answer.status < 500 and not is_passing)


def _refused(message: str, said: Mapping[str, Any]) -> StepFailed | Held:
    """By a budget, or in its words."""
    reason = said.get("reason")
    if reason in _NO_BUDGETS:
        return StepFailed(message, is_final=True)
    if reason == "frozen":  # until somebody thaws it
        return Held(message, FROZEN_MS)
    scope, resets_at_ms = said.get("scope"), said.get("resets_at")
    named = scope if isinstance(scope, str) else ""
    if named and isinstance(resets_at_ms, int) and resets_at_ms:
        return UsedUpForNow(message, named, resets_at_ms)
    return BudgetUsedUp(message, named)


def _held(answer: Answer, said: Mapping[str, Any], message: str) -> Held | None:
    """Where the same may be asked again later; None where that would not help. Budgets, and a
    gateway that is away, may take their time; a provider that is too busy has the step's."""
    reason = said.get("reason")
    if answer.status == 409 and reason == "in_flight":
        return Held(message, AGAIN_MS, is_timed=True)
    if answer.status == 503 and said.get("code") in _AWAY:
        return Held(message, _again_in_ms(answer))
    if answer.status == 429 and "retry-after" in answer.headers:
        return Held(message, _again_in_ms(answer), is_timed=reason not in _HELD_BY_BUDGETS)
    return None


def _error(body: Any) -> Mapping[str, Any]:
    """Of `{"error": {message, type, param, code, reason, scope, resets_at}}`."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, Mapping) else {}


def _again_in_ms(answer: Answer) -> int:
    """Of Retry-After in seconds, as the gateway writes it."""
    said = answer.headers.get("retry-after", "")
    if not (said.isascii() and said.isdecimal()) or len(said) > 9:
        return AGAIN_MS
    return max(AGAIN_MS, min(int(said) * 1_000, AGAIN_MS_MAX))
