"""What a snapshot keeps of an open request is what the records say of it, and no more."""

import msgspec
import pytest

from clickhouse.events import EventRow, WrittenEvent, canonical, decode_written
from recorder.openrequests import OPEN_NAMES, OpenRequest, keep, kept, read

COUNTERS = (("c:1.0:0", 1, 900, 0), ("c:2.0:1700000000", 3, 1, 0))
EVENT = EventRow(
    "acme",
    2,
    17,
    1_800_000_000_123,
    "llm_request",
    "01ab",
    scope="acme/team",
    project="team",
    key_id="key-1",
    model_requested="small",
    streamed=1,
    input_tokens_max=50,
    output_tokens_max=70,
    reserved_nusd=900,
    request_sha256="ff",
    counters=COUNTERS,
    detail='{"a":1}',
)


def line_of(event: EventRow, *, quoted: bool = False) -> bytes:
    """As the engine answers: 64-bit integers may be quoted."""
    values = [getattr(event, name) for name in OPEN_NAMES]
    if quoted:
        values = [str(each) if type(each) is int else each for each in values]
    return msgspec.json.encode(values)


@pytest.mark.parametrize("quoted", [False, True])
def test_what_is_read_has_what_a_lease_holds(quoted: bool) -> None:
    """The writer's part is as short as it was written, and reads as the same."""
    found = read(line_of(EVENT, quoted=quoted))
    assert found == OpenRequest("01ab", 17, 1_800_000_000_123, 70, 900, COUNTERS, found.about)
    about = decode_written(found.about.encode())
    assert about == WrittenEvent(
        request_id="01ab",
        scope="acme/team",
        key_id="key-1",
        model_requested="small",
        streamed=True,
        input_tokens_max=50,
        reserved_nusd=900,
        detail='{"a":1}',
    )
    assert "agent" not in found.about


def test_what_is_kept_comes_back() -> None:
    """From a snapshot of this version, and from one that kept whole events."""
    found = read(line_of(EVENT))
    (text,) = keep((found,))
    assert kept(text) == found
    assert kept(canonical(EVENT).decode()) == found
