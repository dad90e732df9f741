"""From a parsed call to what the ledger is asked for: a quote in the ledger's dimensions."""

import msgspec

from budgets.answers import Ask
from budgets.plan import Plan
from gateway.dialects.contract import Call
from gateway.errors import InvalidRequest
from gateway.options import GatewayOptions
from gateway.routes import Route
from pricing import Quote, QuoteTooLarge, quote


class Quoting(msgspec.Struct, frozen=True):
    """Quotes one call on one route, for whatever plan the ledger's policies give."""

    call: Call
    route: Route
    options: GatewayOptions

    def quote(self, plan: Plan) -> Quote:
        """The ceiling. Content that nobody has seen counts as the whole context window.
        Raises InvalidRequest where the ledger could not compute it exactly."""
        call, options = self.call, self.options
        price = self.route.price
        framing = price.framing_tokens + (price.tool_framing_tokens if call.has_tools else 0)
        wanted = call.output_cap or plan.output_tokens_default or options.output_tokens_default
        try:
            return quote(
                price,
                price.max_input_tokens if call.unseen_content else call.input_tokens_max + framing,
                output_tokens_wanted=wanted,
                output_tokens_least=min(wanted, options.output_tokens_least),
                n=call.n,
                cache_write=call.cache_write,
                audio_input=call.audio_input,
                audio_output=call.audio_output,
                image_input=call.image_input,
            )
        except QuoteTooLarge as error:
            raise InvalidRequest(str(error)) from None

    def ask(self, plan: Plan) -> Ask:
        """The same for the ledger; where any scope says refuse, all of it or nothing."""
        quoted = self.quote(plan)
        return Ask(
            usd_fixed_nusd=quoted.fixed_nusd,
            usd_pusd_per_output=quoted.output_pusd_per_token,
            tokens_fixed=quoted.input_tokens_max,
            tokens_per_output=quoted.n,
            output_wanted=quoted.output_tokens_max,
            output_least=quoted.output_least if plan.clampable else quoted.output_tokens_max,
        )
