"""All attempts of a call together have the longest time that one of them has, however many."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.asked import Asked
from gateway.routes import Route
from gateway.upstream import Origin, Timeouts
from tests.gateway.fake_routes import fake_route
from tests.gateway.translations.samples import parsed

BEGAN_MS = 1_000
NOBODY: Any = None


def route(first_byte_ms: int, *, stream: bool) -> Route:
    """Of this time for answers of one kind, and of another for the other."""
    this, that = (
        Timeouts(connect_ms=5, first_byte_ms=each, idle_ms=7) for each in (first_byte_ms, 9)
    )
    made = fake_route("m", Origin("http", "127.0.0.1", 1), NOBODY)
    if stream:
        return replace(made, timeouts=that, stream_timeouts=this)
    return replace(made, timeouts=this, stream_timeouts=that)


@pytest.mark.parametrize("stream", [False, True])
def test_a_further_attempt_has_the_time_that_is_left(*, stream: bool) -> None:
    """The first has that of its route; the next no more than is left of the longest so far, at
    least a millisecond, and all other limits as they are."""
    call = parsed({"model": "m", "stream": stream})
    asked = Asked(
        request=NOBODY,
        key=NOBODY,
        path=NOBODY,
        call=call,
        mark=None,
        recording=None,
        routes=NOBODY,
        options=NOBODY,
        pool=NOBODY,
        began_ms=BEGAN_MS,
    )
    short, long = route(100, stream=stream), route(300, stream=stream)

    def first_byte_ms(each: Route, after_ms: int) -> int:
        asked.begins(each)
        timeouts = asked.timeouts(each, BEGAN_MS + after_ms)
        assert (timeouts.connect_ms, timeouts.idle_ms) == (5, 7)
        return timeouts.first_byte_ms

    assert first_byte_ms(short, 50) == 100
    assert asked.deadline_ms == BEGAN_MS + 100
    assert first_byte_ms(short, 60) == 40
    assert first_byte_ms(long, 120) == 180
    assert asked.deadline_ms == BEGAN_MS + 300
    assert first_byte_ms(short, 250) == 50
    assert first_byte_ms(short, 400) == 1
    assert asked.attempts == 5
