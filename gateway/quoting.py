"""From a parsed call to what the ledger is asked for: a quote in the ledger's dimensions.

The input is bounded by its bytes at first. Where a budget refuses that, or would lower the output
for it, and the input can be counted, it is, once, and asked for again: `Quoting.counts` says
whether that can help.
"""

from typing import Self

import msgspec

from budgets.answers import Ask, Refusal
from budgets.learned import ONE_THOUSANDTHS, Learned, RouteBound
from budgets.plan import Plan
from gateway.counting import InputCounting
from gateway.dialects.contract import Call, Dialect
from gateway.errors import InvalidRequest, NotPriced
from gateway.options import GatewayOptions
from gateway.routes import Route
from pricing import Price, PriceInvalid, Quote, QuoteTooLarge, images_tokens_max, quote

GAIN_TOKENS_LEAST = 64
"""A grant that would be lowered is asked for again only where the input's bound is worth so many
tokens of output: for less, a second call of the ledger does not pay."""

_NOTHING_LEARNED = Learned()
_PUSD_PER_NUSD = 1000


class Quoting(msgspec.Struct, frozen=True):
    """Quotes one call on one route, for whatever plan the ledger's policies give.
    `price`: the dearest that it can be billed by. `input_tokens_max`: all its input. `is_counted`:
    no better bound is to be had."""

    call: Call
    route: Route
    options: GatewayOptions
    price: Price
    input_tokens_max: int
    is_counted: bool = False

    @classmethod
    def by_bytes(
        cls, call: Call, route: Route, options: GatewayOptions, *, countable: bool = True
    ) -> Self:
        """The bound that costs nothing. `countable`: whether a better one may be had. Raises
        NotPriced for a service tier without a price."""
        price = route.prices.quoted(call.service_tier)
        tokens_max = _input_tokens_max(call, route, price, call.input_tokens_max)
        return cls(call, route, options, price, tokens_max, is_counted=not countable)

    def quote(self, plan: Plan) -> Quote:
        """The ceiling. Raises InvalidRequest where the ledger could not compute it exactly, and
        NotPriced."""
        wanted = self.call.output_cap
        if wanted is None:
            wanted = plan.output_tokens_default or self.options.output_tokens_default
        return self.quote_of(max(wanted, self.call.output_tokens_least), plan.route)

    def quote_of(self, output_tokens_wanted: int, route: RouteBound | None = None) -> Quote:
        """The same for this output cap, and what is known of the route. What nobody has seen can
        be sound, pictures or video."""
        call = self.call
        learned = _NOTHING_LEARNED if route is None else route.learned
        try:
            return quote(
                self.price,
                self.bound(route),
                output_tokens_wanted=output_tokens_wanted,
                output_tokens_least=min(
                    output_tokens_wanted,
                    max(self.options.output_tokens_least, call.output_tokens_least),
                ),
                n=call.n,
                cache_write=call.cache_write,
                audio_input=call.audio_input or call.unseen_content,
                audio_output=call.audio_output,
                image_input=bool(call.images) or call.unseen_content,
                searches=call.searches_max,
                input_thousandths=learned.input_thousandths,
                output_thousandths=learned.output_thousandths,
                input_windows=call.input_windows,
            )
        except QuoteTooLarge as error:
            raise InvalidRequest(str(error)) from None
        except PriceInvalid as error:
            raise NotPriced(str(error), param="tools") from None

    def bound(self, route: RouteBound | None) -> int:
        """The best bound of all input: the lower of `input_tokens_max` and what was learned."""
        if route is None or not self.is_calibratable:
            return self.input_tokens_max
        learned = route.calibration.tokens_max(self.call.input_tokens_max)
        tokens_max = _input_tokens_max(self.call, self.route, self.price, learned)
        return min(self.input_tokens_max, tokens_max)

    @property
    def is_calibratable(self) -> bool:
        """Whether a bound is learned of its route, and texts are all its input."""
        call = self.call
        return self.route.calibrated and not (call.unseen_content or call.images)

    def ask(self, plan: Plan) -> Ask:
        """The same for the ledger; where any scope says refuse, all of it or nothing. Tokens are
        whole there: a factor of the output is rounded up."""
        quoted = self.quote(plan)
        least = quoted.output_least if plan.clampable else quoted.output_tokens_max
        times = 1
        if plan.route is not None:
            times = -(-plan.route.learned.output_thousandths // ONE_THOUSANDTHS)
        return Ask(
            usd_fixed_nusd=quoted.fixed_nusd,
            usd_pusd_per_output=quoted.output_pusd_per_token,
            tokens_fixed=quoted.input_tokens_max,
            tokens_per_output=quoted.n * times,
            output_wanted=quoted.output_tokens_max,
            output_least=least,
            route=plan.route,
            input_bytes_max=self.call.input_tokens_max if self.is_calibratable else 0,
            tells_lowered=(
                not self.is_counted and least < quoted.output_tokens_max and _is_worth_more(quoted)
            ),
        )

    def counts(self, refusal: Refusal) -> bool:
        """Whether counting the input can turn this refusal of a budget into a grant, or a lowered
        grant into a larger one: not where the output alone does not fit."""
        bound = refusal.bound
        if refusal.code == "LOWERED":
            return not self.is_counted
        if self.is_counted or bound is None or bound.limit.dimension not in ("usd", "tokens"):
            return False
        quoted = self.quote_of(1, refusal.route)
        is_usd = bound.limit.dimension == "usd"
        input_asked = quoted.fixed_nusd if is_usd else quoted.input_tokens_max
        room = bound.limit.amount
        if refusal.code != "TOO_LARGE":
            room -= refusal.spent
        if refusal.code == "HELD":
            room -= refusal.reserved + refusal.allotted
        return refusal.asked - input_asked <= room

    async def counted(self, dialect: Dialect, counting: InputCounting) -> Self:
        """With the input's tokens counted; as it was, where they cannot be."""
        if self.is_counted:
            return self
        tokens = None
        if not self.call.unseen_content:
            tokens = await counting.tokens_max(dialect, self.call, self.route)
        if tokens is None:
            return msgspec.structs.replace(self, is_counted=True)
        tokens = _input_tokens_max(self.call, self.route, self.price, tokens)
        lower = min(tokens, self.input_tokens_max)
        return msgspec.structs.replace(self, input_tokens_max=lower, is_counted=True)


def _is_worth_more(quoted: Quote) -> bool:
    """Whether the input's bound, in dollars or in tokens, is output enough to ask again."""
    fixed_pusd = quoted.fixed_nusd * _PUSD_PER_NUSD
    return (
        quoted.input_tokens_max >= GAIN_TOKENS_LEAST * quoted.n
        or fixed_pusd >= GAIN_TOKENS_LEAST * quoted.output_pusd_per_token > 0
    )


def _input_tokens_max(call: Call, route: Route, price: Price, texts_tokens_max: int) -> int:
    """All input: what is in the request, what the provider adds, the pictures. What nobody has seen
    counts as the whole context window, of each input that has one."""
    windows_tokens = price.max_input_tokens * call.input_windows
    if call.unseen_content:
        _check_window(call, price, call.context_tokens)
        return windows_tokens
    tokens = texts_tokens_max + price.framing_tokens * max(1, call.input_windows)
    if call.has_tools:
        tokens += price.tool_framing_tokens
    if call.images:
        images_tokens = images_tokens_max(route.provider, route.model, call.images)
        if images_tokens is None:
            _check_window(call, price, call.context_tokens)
            return price.max_input_tokens
        tokens += images_tokens
    _check_window(call, price, tokens)
    return min(tokens, windows_tokens) if call.input_windows else tokens


def _check_window(call: Call, price: Price, tokens: int) -> None:
    """A request may open a larger window than its price knows: what fills that is not bounded by
    it. Raises NotPriced."""
    if call.context_tokens > price.max_input_tokens < tokens:
        raise NotPriced(
            f"the request may have {tokens} input tokens and opens a window of "
            f"{call.context_tokens}; its price is for {price.max_input_tokens}: send less, or give "
            "max_input_tokens and the prices beyond it in model_info"
        )
