"""Quotes of Messages calls: no bill that the request allows is above them."""

import json
from typing import Any, NamedTuple

import hypothesis.strategies as st
from hypothesis import given

from gateway.demo import DemoUpstream
from gateway.dialects import MESSAGES
from gateway.options import GatewayOptions
from gateway.quoting import Quoting
from gateway.upstream import Origin
from pricing import Meters, cost_nusd
from tests.gateway.dialects.test_messages import GOOD
from tests.gateway.messages_provider import claude_price, messages_routes


class Room(NamedTuple):
    """A request as it may be, and how the provider may bill it."""

    fields: dict[str, Any]
    input_thousandths: int
    output_tokens: int
    written: str


rooms = st.builds(
    Room,
    st.fixed_dictionaries(
        {"max_tokens": st.integers(0, 20_000)},
        optional={
            "system": st.text(max_size=50),
            "tools": st.just([{"name": "f", "input_schema": {}}]),
            "cache_control": st.sampled_from([{"type": "ephemeral"}, {"ttl": "1h"}]),
            "thinking": st.just({"type": "enabled", "budget_tokens": 1_024}),
            "new_field": st.just(1),
        },
    ),
    st.integers(0, 1_000),
    st.integers(0, 20_000),
    st.sampled_from(["text_input", "cached_input", "cache_write_5m", "cache_write_1h"]),
)


@given(rooms)
def test_no_bill_within_the_bounds_is_above_its_quote(room: Room) -> None:
    """Whatever share of the input is written to the cache that was asked for, and whatever is
    produced up to the cap."""
    call = MESSAGES.parse(json.dumps({**GOOD, **room.fields}).encode(), {})
    (route, _) = messages_routes(Origin("http", "127.0.0.1", 1), DemoUpstream())
    quoting = Quoting.by_bytes(call, route, GatewayOptions())
    assert call.output_cap is not None
    quoted = quoting.quote_of(call.output_cap)
    writes = {"none": (), "5m": ("cache_write_5m",), "1h": ("cache_write_5m", "cache_write_1h")}
    kind = room.written
    if kind.startswith("cache_write") and kind not in writes[call.cache_write]:
        kind = "text_input"
    tokens = quoted.input_tokens_max * room.input_thousandths // 1_000
    produced = min(room.output_tokens, quoted.output_tokens_max)
    billed = Meters(**{kind: tokens}, text_output=produced)
    assert cost_nusd(claude_price(), billed) <= quoted.ceiling_nusd(quoted.output_tokens_max)
