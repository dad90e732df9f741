"""Over sheets as providers have them: no answer costs more than its quote, whatever was served."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pricing import Facts, Meters, cost, price_from_model_info, quote, sheet_from_model_info

# A reasoning model with everything that a quote has to think of: long context, dear audio and
# images, writes that nobody asked for, cheaper batches and nights.
INFO: dict[str, object] = {
    "input_cost_per_token": "0.0000025",
    "cache_read_input_token_cost": "0.00000025",
    "cache_creation_input_token_cost": "0.000003125",
    "input_cost_per_audio_token": "0.00004",
    "cache_read_input_audio_token_cost": "0.0000025",
    "input_cost_per_image_token": "0.000005",
    "output_cost_per_token": "0.00001",
    "output_cost_per_reasoning_token": "0.000015",
    "output_cost_per_audio_token": "0.00008",
    "input_cost_per_token_above_200k_tokens": "0.000005",
    "output_cost_per_token_above_200k_tokens": "0.000015",
    "input_cost_per_token_batches": "0.00000125",
    "output_cost_per_token_batches": "0.000005",
    "input_cost_per_token_flex": "0.00000125",
    "output_cost_per_token_flex": "0.000005",
    "input_cost_per_token_above_200k_tokens_flex": "0.0000025",
    "output_cost_per_token_above_200k_tokens_flex": "0.0000075",
    "off_peak_pricing": {"input_cost_per_token": "0.000001", "windows": [{"weekdays": [6, 7]}]},
    "input_cost_per_request": "0.001",
    "max_input_tokens": 1_000_000,
    "max_output_tokens": 100_000,
}
SHEET = sheet_from_model_info("somebody", "m", INFO)
PRICE = price_from_model_info("somebody", "m", INFO)
FACTS = st.builds(
    Facts,
    service_tier=st.sampled_from(["", "default", "flex"]),
    batch=st.booleans(),
    at_ms=st.none() | st.integers(0, 10**12),
)
# Whole, and often right at the threshold.
INPUT = st.integers(0, 300_000) | st.sampled_from([0, 1, 199_999, 200_000, 200_001])
INPUTS = ("text_input", "cached_input", "cache_write_5m", "audio_input", "image_input")
OUTPUTS = ("text_output", "reasoning_output", "audio_output")
METERS = st.builds(
    Meters, **dict.fromkeys(INPUTS, INPUT), **dict.fromkeys(OUTPUTS, st.integers(0, 30_000))
)


@settings(deadline=None, max_examples=300)
@given(facts=FACTS, meters=METERS)
def test_what_a_sheet_costs_is_within_the_quote(facts: Facts, meters: Meters) -> None:
    """Quote the input and the cap, meter anything within them: cost <= ceiling."""
    assume(meters.input_tokens <= PRICE.max_input_tokens)
    quoted = quote(
        PRICE,
        meters.input_tokens,
        output_tokens_wanted=meters.output_tokens,
        output_tokens_least=1,
        n=1,
        cache_write="5m",
        audio_input=meters.audio_input > 0,
        audio_output=meters.audio_output > 0,
        image_input=meters.image_input > 0,
    )
    heard = replace(facts, cached_audio=meters.cached_input if meters.audio_input else 0)
    assert cost(SHEET, meters, heard) <= quoted.ceiling_nusd(meters.output_tokens)
