"""Usage that came is the truth, whatever becomes of the connection afterwards."""

import asyncio

import pytest

from tests.gateway.behaviours import DONE, streams, usage_event, usage_text, word_events
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, PATIENT
from tests.gateway.ledger_view import charged
from tests.gateway.stack import Stack

COST_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD


@pytest.mark.parametrize("end", ["reset", "close", "silence"])
async def test_a_usage_that_came_is_the_truth_however_the_stream_ends(
    stack: Stack, end: str
) -> None:
    """Usage and end mark came, then the connection broke or stayed open: the truth is booked, and
    the client has its whole answer at once: nobody waits for the silence to be too long."""
    assert PATIENT.idle_ms > 30_000
    stack.provider.behaviour = streams(
        [*word_events(), usage_event(usage_text(11, 7)), DONE], end=end
    )
    secret = await stack.key(budget=[{"usd": "1"}])
    answer = await asyncio.wait_for(stack.chat(secret, stream=True), 30)
    assert answer.content.endswith(b"data: [DONE]\n\n")
    entry, event = await stack.ledger.ending()
    assert (charged(entry), event["usage_source"]) == (COST_NUSD, "provider")
    await stack.ledger.at_rest()
