"""A recorded stream, put together to the answer that it would have been in one piece: what every
surface does alike. What an event means is each surface's own."""

from typing import Any, Protocol

from recorder.surfaces.sse import events, is_event_stream
from recorder.surfaces.values import MARK, encoded


class Arriving(Protocol):
    """An answer that is taken in event by event. `done`: its last event came."""

    done: bool

    def take(self, data: bytes, *, whole: bool) -> None:
        """One event. Half a JSON text at the end of a cut stream is what the cut cost, no fault."""

    def finished(self) -> dict[str, Any]:
        """The whole answer."""
        ...


def assembled(body: bytes, answer: Arriving) -> bytes:
    """The JSON of what the stream said; a body that is no stream, or an empty one, as it is."""
    if not is_event_stream(body):
        return body
    seen = False
    for data, whole in events(body):
        seen = True
        answer.take(data, whole=whole)
        if answer.done:
            break
    return encoded(answer.finished()) if seen else body


def marked(answer: dict[str, Any], lacks: dict[str, Any]) -> dict[str, Any]:
    """The answer with what it lacks, of which only what is true or above zero is said. The field is
    ours: a provider's own of that name is dropped."""
    answer.pop(MARK, None)
    said = {name: value for name, value in lacks.items() if value}
    if said:
        answer[MARK] = said
    return answer
