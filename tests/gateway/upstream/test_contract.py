"""The error tree: what the ledger does with each failure hangs on it."""

import pytest

from gateway.upstream import (
    Origin,
    Timeouts,
    UpstreamAborted,
    UpstreamError,
    UpstreamLimits,
    UpstreamNotReached,
    UpstreamTimeout,
    UpstreamUnknown,
)

from .servers import request_to


def test_errors_divide_into_sent_and_not_sent() -> None:
    """A timeout is an unknown outcome; nothing is both unknown and not reached."""
    assert issubclass(UpstreamTimeout, UpstreamUnknown)
    kinds = (UpstreamNotReached, UpstreamUnknown, UpstreamAborted)
    for kind in kinds:
        assert issubclass(kind, UpstreamError)
        assert [other for other in kinds if issubclass(kind, other)] == [kind]


def test_unknown_says_whether_an_answer_had_begun() -> None:
    """The attributes that the path of a request reads are there, with their texts."""
    error = UpstreamTimeout("idle", 250, bytes_received=True)
    assert (error.phase, error.limit_ms, error.bytes_received) == ("idle", 250, True)
    assert str(error) == "nothing more of the answer within 250 ms"
    assert not UpstreamUnknown("x", bytes_received=False).bytes_received


def test_requests_and_limits_do_not_change() -> None:
    """What is passed down is frozen."""
    origin = Origin("https", "::1", 443)
    assert str(origin) == "https://[::1]:443"
    for thing, name in (
        (origin, "host"),
        (Timeouts(1, 2, 3), "idle_ms"),
        (request_to(origin), "body"),
        (UpstreamLimits(), "origins_max"),
    ):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)
