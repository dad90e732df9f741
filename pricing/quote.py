"""The ceiling of what a request can cost, before it is sent.

The ledger reserves this ceiling, so it must hold whatever the provider answers: each token is
priced at the dearest rate that can apply to this request, and every rounding goes up. The numbers
are shaped for the ledger's scripts, which grant an output cap and compute in doubles:
`fixed_nusd + ceil(cap * output_pusd_per_token / 1000)` must be exact there.
"""

from dataclasses import dataclass
from typing import Literal

from pricing.cost import TOKENS_PER_MTOK
from pricing.demo import PROVIDER as DEMO
from pricing.price import Price
from pricing.rates import PriceInvalid, Rates

CacheWrite = Literal["none", "5m", "1h"]

OUTPUT_PUSD_LIMIT = 9 * 10**15
"""Pico-dollars of output ($9,000) that a quote stays below: whole numbers up to 2^53 are exact in a
double, and so is the ceiling of a thousandth of them."""

FIXED_NUSD_LIMIT = 10**14
"""Nano-dollars of input and fees ($100,000) that a quote stays below, so that a balance which adds
up many of them is exact in a double."""

ONE_THOUSANDTHS = 1000
"""The factor that changes nothing."""

_PUSD_PER_NUSD = 1000
_MTOK_PER_KTOK = TOKENS_PER_MTOK // _PUSD_PER_NUSD


class QuoteTooLarge(ValueError):  # a refusal's reason, not a failure
    """A quote beyond what the ledger computes exactly; the message names the limit."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The ceiling of one request.

    `output_tokens_max`: the most tokens that one choice may be granted; `output_least`: the least
    that are worth sending. `fixed_nusd`: all that does not depend on the output cap.
    `output_pusd_per_token`: pico-dollars per token of the granted cap, all `n` choices together.
    Factors are in all of them but the cap.
    """

    input_tokens_max: int
    output_tokens_max: int
    output_least: int
    n: int
    fixed_nusd: int
    output_pusd_per_token: int

    def ceiling_nusd(self, output_tokens: int) -> int:
        """The most that the request costs when each choice is capped at `output_tokens`."""
        output_pusd = output_tokens * self.output_pusd_per_token
        return self.fixed_nusd + -(-output_pusd // _PUSD_PER_NUSD)


def quote(  # noqa: PLR0913  # one keyword for each property of a request that moves its rate
    price: Price,
    input_tokens_max: int,
    *,
    output_tokens_wanted: int,
    output_tokens_least: int,
    n: int,
    cache_write: CacheWrite = "none",
    audio_input: bool = False,
    audio_output: bool = False,
    image_input: bool = False,
    searches: int = 0,
    input_thousandths: int = ONE_THOUSANDTHS,
    output_thousandths: int = ONE_THOUSANDTHS,
    input_windows: int = 1,
) -> Quote:
    """Quote a request that has at most `input_tokens_max` tokens of input.

    Input and output are bounded by the model's own limits too. The flags say what the request can
    cause: cache writes of this lifetime or shorter, audio in, images or video in, audio out.
    `searches`: how many searches it may bill.
    `input_thousandths` and `output_thousandths` (1000: none) are how many times its bound a
    provider was seen to bill: so many times the input, also beyond the model's own limit, and so
    many tokens for each that is granted. `input_windows`: how many inputs may each be
    as long as the model's limit; 0 where that limit bounds nothing (servers that cut a long input
    into pieces bill all of them). Raises QuoteTooLarge, and ValueError for negative numbers, n < 1
    or a factor below one; PriceInvalid for searches that the price has no fee for.
    """
    tokens = (input_tokens_max, output_tokens_wanted, output_tokens_least)
    if n < 1 or min(*tokens, input_windows, searches) < 0:
        raise ValueError("a quote needs n >= 1 and no negative number of tokens")
    if min(input_thousandths, output_thousandths) < ONE_THOUSANDTHS:
        raise ValueError("a factor is at least 1000 thousandths: a bound never falls")
    tokens_in = input_tokens_max
    if input_windows:
        tokens_in = min(input_tokens_max, price.max_input_tokens * input_windows)
    if input_thousandths != ONE_THOUSANDTHS:
        tokens_in = -(-tokens_in * input_thousandths // ONE_THOUSANDTHS)
    tokens_out = min(output_tokens_wanted, price.max_output_tokens)
    if cache_write == "none" and price.cache_write_unasked:
        cache_write = "5m"
    reached = price.rates_up_to(tokens_in)
    rate_in = max(
        _input_rate(rates, cache_write, audio=audio_input, image=image_input) for rates in reached
    )
    rate_out = max(_output_rate(rates, audio=audio_output) for rates in reached)
    result = Quote(
        input_tokens_max=tokens_in,
        output_tokens_max=tokens_out,
        output_least=min(output_tokens_least, tokens_out),
        n=n,
        fixed_nusd=-(-tokens_in * rate_in // TOKENS_PER_MTOK)
        + price.request_nusd
        + _searches_nusd(price, searches),
        output_pusd_per_token=-(
            -rate_out * n * output_thousandths // (_MTOK_PER_KTOK * ONE_THOUSANDTHS)
        ),
    )
    _check_exact(result)
    return result


def _searches_nusd(price: Price, searches: int) -> int:
    """The fees of so many searches. The demo models search nowhere."""
    fee = price.fees.search_calls_nusd_per_m
    if searches == 0 or price.provider == DEMO:
        return 0
    if fee is None:
        raise PriceInvalid(
            f"the price of {price.model} has no fee for web searches: add "
            "search_context_cost_per_query to its model_info, or send no search tool (Codex: "
            'web_search = "disabled")'
        )
    return -(-searches * fee // TOKENS_PER_MTOK)


def _input_rate(rates: Rates, cache_write: CacheWrite, *, audio: bool, image: bool) -> int:
    """The dearest rate that an input token of the request can have."""
    candidates = [rates.input_nusd_per_mtok, rates.cached_input_nusd_per_mtok]
    if cache_write != "none":
        candidates.append(rates.cache_write_5m_nusd_per_mtok)
    if cache_write == "1h":
        candidates.append(rates.cache_write_1h_nusd_per_mtok)
    if audio:
        candidates += [rates.audio_input_nusd_per_mtok, rates.cached_audio_input_nusd_per_mtok]
    if image:
        candidates += [rates.image_input_nusd_per_mtok, rates.video_input_nusd_per_mtok]
    return max(candidates)


def _output_rate(rates: Rates, *, audio: bool) -> int:
    """The dearest rate that an output token can have: any model may reason, or draw."""
    candidates = [
        rates.output_nusd_per_mtok,
        rates.reasoning_output_nusd_per_mtok,
        rates.image_output_nusd_per_mtok,
    ]
    if audio:
        candidates.append(rates.audio_output_nusd_per_mtok)
    return max(candidates)


def _check_exact(result: Quote) -> None:
    output_pusd = result.output_tokens_max * result.output_pusd_per_token
    if output_pusd >= OUTPUT_PUSD_LIMIT:
        raise QuoteTooLarge(
            f"{result.n} x {result.output_tokens_max} output tokens could cost {output_pusd} "
            f"pico-dollars; OUTPUT_PUSD_LIMIT is {OUTPUT_PUSD_LIMIT}: lower the output cap or n"
        )
    if result.fixed_nusd >= FIXED_NUSD_LIMIT:
        raise QuoteTooLarge(
            f"{result.input_tokens_max} input tokens could cost {result.fixed_nusd} nano-dollars; "
            f"FIXED_NUSD_LIMIT is {FIXED_NUSD_LIMIT}: send less input"
        )
