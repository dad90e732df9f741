"""Ways to break what an answer is charged, and what its event keeps of that."""

from tests.mutants.mutant import Mutant

_SERVED = ("tests/gateway/test_served.py",)
_PRICES = ("tests/gateway/test_route_prices.py",)
_EVENTS = ("tests/clickhouse/test_events.py",)
_UPGRADE = ("tests/recorder/test_upgrade.py",)
_REPRICING = ("tests/comptroller/test_repricing.py",)

CHARGES = (
    Mutant(
        "a cost is believed from anybody",
        "gateway/dialects/chat_stream.py",
        "read_usage(biller, ",
        'read_usage("openrouter", ',
        _SERVED,
    ),
    Mutant(
        "every tier costs what the standard one costs",
        "gateway/route_prices.py",
        "        if facts is STANDARD:\n",
        "        if facts is not None:\n",
        _PRICES,
    ),
    Mutant(
        "a tier is reserved at its own price alone",
        "gateway/route_prices.py",
        "dearest([self._standard, *(sheet.price(Facts(service_tier=t)) for t in others)])",
        "dearest([sheet.price(Facts(service_tier=service_tier))])",
        _PRICES,
    ),
    Mutant(
        "the tier of an account is forgotten",
        "gateway/route_prices.py",
        "asked = {service_tier, self._default_tier}",
        "asked = {service_tier}",
        _PRICES,
    ),
    Mutant(
        "prices of tiers that nobody has are kept without end",
        "gateway/route_prices.py",
        "    if len(kept) < KEPT_MAX:\n",
        "    if key not in kept:\n",
        _PRICES,
    ),
    Mutant(
        "the tokens of an answer without a price are given back",
        "gateway/ending.py",
        "            if cost_nusd is None:  #",
        "            if cost_nusd == -1:  #",
        _SERVED,
    ),
    Mutant(
        "a provider's words are recorded whatever the policy says",
        "gateway/ending.py",
        "bool if record.hands_over else provider_name",
        "bool",
        _SERVED,
    ),
    Mutant(
        "a combined price has the first one's long-context rates",
        "pricing/dearest.py",
        "_rates([each.rates_for(above + 1) for each in prices])",
        "_rates([prices[0].rates_for(above + 1)])",
        ("tests/pricing/test_dearest.py",),
    ),
    Mutant(
        "empty later columns are in the text that is hashed",
        "clickhouse/events.py",
        "if not whole_text.endswith(empty, 0, end):",
        "if whole_text:",
        _EVENTS,
    ),
    Mutant(
        "a batch of an earlier version is inserted as one of this",
        "recorder/writer.py",
        "insert_events(batch.column_count)",
        "insert_events()",
        _UPGRADE,
    ),
    Mutant(
        "an event that tells its video apart is left as one that does not",
        "comptroller/repricing.py",
        "        if not used.is_told_whole:\n            _check_distinct(used, price)",
        "        if used:\n            _check_distinct(used, price)",
        _REPRICING,
    ),
    Mutant(
        "what the provider has billed is priced again by a list",
        "comptroller/repricing.py",
        "if used.reported_nusd is not None:",
        "if used.reported_nusd == -1:",
        _REPRICING,
    ),
)
