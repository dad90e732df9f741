"""What a run writes into the log: the writer's part of its events, as JSON. Pure.

All events of a run have its id as `correlation_id`, and `triggered_by` names the event that they
follow from. What there is to say beside the columns is in `detail`, a JSON object.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, TypeVar

import msgspec

from orchestrator.places import AttemptPlace, RunPlace

RunEventType = Literal[
    "run_submitted",
    "step_started",
    "step_completed",
    "step_failed",
    "approval_requested",
    "approval_resolved",
    "workflow_halted",
    "run_completed",
]
DETAIL_BYTES_MAX = 4096
BY = "orchestrator"
_TEXT_CHARS_MAX = 4096
_DEPTH_MAX = 32
# A text of so many characters, a list or object of so many entries: the first that fits is taken.
_CUTS = ((DETAIL_BYTES_MAX, DETAIL_BYTES_MAX), (1024, 64), (256, 32), (64, 16), (32, 8), (16, 4))
_MORE = "..."
_INT_MAX = 2**63
_EVENT_ID_HEX = 20
_Value = TypeVar("_Value")


class RunEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of a run, or an attempt at one of its steps: columns of `clickhouse.events`."""

    workflow: str
    workflow_version: int
    run_id: str
    correlation_id: str
    scope: str
    step_id: str = ""
    attempt: int = 0
    agent: str = ""
    key_id: str = ""
    by: str = ""
    triggered_by: str = ""
    detail: str = ""


encode = msgspec.json.Encoder().encode


def event_id(time_ms: int, *parts: str) -> str:
    """The id of an event: its time (ms since 1970), and what makes it this one. The same again for
    the same, so that the ledger takes it once."""
    told = "".join(f"{len(each)}:{each}" for each in parts)
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{time_ms:012x}{digest[:_EVENT_ID_HEX]}"


def submitted_id(run: RunPlace, time_ms: int) -> str:
    """Of the event that a run begins with."""
    return event_id(time_ms, run.id, "run_submitted")


def resolved_id(attempt: AttemptPlace, time_ms: int) -> str:
    """Of the event that somebody has decided about a step."""
    return event_id(time_ms, attempt.name, "approval_resolved")


def of_run(
    run: RunPlace, *, by: str = BY, triggered_by: str = "", detail: Mapping[str, Any] | None = None
) -> bytes:
    """`run_submitted`, `workflow_halted`, `run_completed`; `by`: the person or key that did it."""
    return encode(_event(run, run.scope, by, triggered_by, detail))


def of_attempt(
    attempt: AttemptPlace,
    *,
    agent: str = "",
    by: str = BY,
    triggered_by: str = "",
    detail: Mapping[str, Any] | None = None,
) -> bytes:
    """`step_started`, `step_completed`, `step_failed`, `approval_requested`, `approval_resolved`:
    `by` is who decided."""
    return encode(
        msgspec.structs.replace(
            _event(attempt.run, attempt.scope, by, triggered_by, detail),
            step_id=attempt.task.label,
            attempt=attempt.number,
            agent=_plain(agent)[:_TEXT_CHARS_MAX],
            key_id=attempt.key_id,
        )
    )


def of_scope(run: RunPlace, scope: str, action: str, *, key_id: str = "") -> bytes:
    """What the orchestrator does to a scope of a run, for `budget_changed` and the events of
    allotments and keys: `action` as in freeze."""
    event = _event(run, scope, BY, "", {"action": action})
    return encode(msgspec.structs.replace(event, key_id=key_id))


def _event(
    run: RunPlace, scope: str, by: str, triggered_by: str, detail: Mapping[str, Any] | None
) -> RunEvent:
    return RunEvent(
        workflow=run.workflow,
        workflow_version=run.version,
        run_id=run.id,
        correlation_id=run.id,
        scope=scope,
        by=_plain(by)[:_TEXT_CHARS_MAX],
        triggered_by=triggered_by,
        detail=bounded(detail) if detail else "",
    )


def bounded(detail: Mapping[str, Any]) -> str:
    """A JSON object of at most DETAIL_BYTES_MAX bytes: where it is longer, its longest texts and
    lists are cut, all names on the way to what is left stay, and it is still JSON."""
    for chars, entries in _CUTS:
        text = encode(_Cut(chars, entries).of(detail))
        if len(text) <= DETAIL_BYTES_MAX:
            return text.decode()
    return encode({"cut": True}).decode()


class _Cut:
    """Cuts a JSON value: nothing in it is longer or deeper than may be, and what is beyond so many
    values is not looked at, because it could not be told anyway."""

    def __init__(self, chars: int, entries: int) -> None:
        self._chars = chars
        self._entries = entries
        self._left = DETAIL_BYTES_MAX

    def of(self, value: Any, depth: int = 0) -> Any:
        """The same, short."""
        self._left -= 1
        if isinstance(value, str):
            plain = _plain(value[: self._chars + 1])
            return plain if len(plain) <= self._chars else plain[: self._chars] + _MORE
        if isinstance(value, int) and not -_INT_MAX <= value < _INT_MAX:
            return _MORE  # longer than JSON's readers take
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth >= _DEPTH_MAX:
            return _MORE
        if isinstance(value, Mapping):
            return self._of_mapping(value, depth + 1)
        some = [self.of(each, depth + 1) for each in self._some(value)]
        return some if len(some) == len(value) else [*some, _MORE]

    def _of_mapping(self, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        some = {
            self.of(str(name), depth): self.of(value[name], depth) for name in self._some(value)
        }
        return some if len(some) == len(value) else {**some, _MORE: len(value) - len(some)}

    def _some(self, values: Iterable[_Value]) -> Iterator[_Value]:
        for each in islice(values, self._entries):
            if self._left <= 0:
                return
            yield each


def _plain(text: str) -> str:
    """Halves of characters, which JSON may escape and UTF-8 cannot write, as `?`."""
    return text.encode("utf-8", "replace").decode()
