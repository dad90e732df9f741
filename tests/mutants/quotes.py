"""Ways to break what bounds the input of a request: bytes, counts, pictures."""

from tests.mutants.mutant import Mutant

_SECOND_TRY = ("tests/gateway/test_second_try.py",)
_QUOTING = ("tests/gateway/test_quoting.py",)
_PROVIDER_COUNTING = ("tests/gateway/test_provider_counting.py",)
_CALIBRATION = ("tests/budgets/test_calibration.py",)
_COUNTING = ("tests/pricing/test_counting.py",)
_IMAGES = ("tests/pricing/test_images.py",)
_VISION = ("tests/pricing/test_vision.py",)
_INPUT = ("tests/gateway/dialects/test_chat_input.py",)
_RECORDED = "            self._record.counted(self.quoting.input_tokens_max)\n"

QUOTES = (
    Mutant(
        "what was counted is not asked for",
        "gateway/asking.py",
        f"{_RECORDED}        elif",
        f"{_RECORDED}            return answer\n        elif",
        _SECOND_TRY,
    ),
    Mutant(
        "a count is not recorded",
        "gateway/asking.py",
        _RECORDED,
        "            pass\n",
        _SECOND_TRY,
    ),
    Mutant(
        "a grant is lowered for what nobody has counted",
        "gateway/quoting.py",
        "not self.is_counted and least < quoted.output_tokens_max and _is_worth_more(quoted)",
        "False",
        _SECOND_TRY,
    ),
    Mutant(
        "every lowered grant is asked for again",
        "gateway/quoting.py",
        " and _is_worth_more(quoted)",
        "",
        _SECOND_TRY,
    ),
    Mutant(
        "what no count can help is counted",
        "gateway/quoting.py",
        "        return refusal.asked - input_asked <= room\n",
        "        return True\n",
        _QUOTING,
    ),
    Mutant(
        "a count above the bytes holds",
        "gateway/quoting.py",
        "        lower = min(tokens, self.input_tokens_max)\n",
        "        lower = tokens\n",
        _QUOTING,
    ),
    Mutant(
        "pictures cost nothing",
        "gateway/quoting.py",
        "        tokens += images_tokens\n",
        "",
        _QUOTING,
    ),
    Mutant(
        "any number of requests waits to be counted",
        "gateway/counting.py",
        "if family is None or is_long or self._waiting >= WAITING_MAX:",
        "if family is None or is_long:",
        ("tests/gateway/test_counting.py",),
    ),
    Mutant(
        "a provider's count is believed to the token",
        "gateway/provider_counting.py",
        " + -(-tokens // MARGIN_SHARE) + MARGIN_TOKENS",
        "",
        _PROVIDER_COUNTING,
    ),
    Mutant(
        "a counter that has failed is asked by everybody",
        "gateway/provider_counting.py",
        "asyncio.get_running_loop().time() + self._pause_s",
        "0.0",
        _PROVIDER_COUNTING,
    ),
    Mutant(
        "any number of questions is asked at a time",
        "gateway/provider_counting.py",
        "if place is None or self._asking >= ASKING_MAX or not self.asks(route):",
        "if place is None or not self.asks(route):",
        _PROVIDER_COUNTING,
    ),
    Mutant(
        "a negative count is a count",
        "gateway/counters/contract.py",
        " or value < 0",
        "",
        ("tests/gateway/counters/test_counters.py",),
    ),
    Mutant(
        "a region that nobody has a price for costs what anywhere does",
        "comptroller/price_documents.py",
        "    sheet.check_region(facts.region)\n",
        "",
        ("tests/comptroller/commands/test_prices.py",),
    ),
    Mutant(
        "a learned bound is kept after a bill beyond it",
        "budgets/calibration.py",
        "self.bound_thousandths if holds else 0",
        "self.bound_thousandths",
        _CALIBRATION,
    ),
    Mutant(
        "a bound is learned without a margin",
        "budgets/calibration.py",
        "(THOUSANDTHS + MARGIN_THOUSANDTHS)",
        "THOUSANDTHS",
        _CALIBRATION,
    ),
    Mutant(
        "a bound is learned of the first request",
        "budgets/learning.py",
        "        elif times >= self._calibrated_after:\n",
        "        else:\n",
        _CALIBRATION,
    ),
    Mutant(
        "what another worker has seen does not count",
        "budgets/learning.py",
        "wanted = known.with_seen(highest) if highest > known.bound_thousandths else known",
        "wanted = known",
        _CALIBRATION,
    ),
    Mutant(
        "pictures are bounded by what texts have billed",
        "gateway/quoting.py",
        "(call.unseen_content or call.images)",
        "call.unseen_content",
        ("tests/gateway/test_calibrated.py",),
    ),
    Mutant(
        "a special token that a caller spells is one token",
        "pricing/counting.py",
        "        return specials * _SPECIAL_TOKENS_MAX\n",
        "        return 0\n",
        _COUNTING,
    ),
    Mutant(
        "JSON is counted as it was written",
        "pricing/counting.py",
        "        return self.text(text) + style\n",
        "        return self.text(text)\n",
        _COUNTING,
    ),
    Mutant(
        "a setting of a picture that is not known is overlooked",
        "gateway/dialects/chat_input.py",
        "        self.unknown |= not (part.keys()",
        "        self.unknown |= False and not (part.keys()",
        _INPUT,
    ),
    Mutant(
        "functions have no overhead",
        "gateway/dialects/chat_input.py",
        "            self.tools += len(value)\n",
        "            pass\n",
        _INPUT,
    ),
    Mutant(
        "the smallest of several sizes counts",
        "pricing/images.py",
        "Size(max(each.width for each in sizes), max(each.height for each in sizes))",
        "Size(min(each.width for each in sizes), min(each.height for each in sizes))",
        _IMAGES,
    ),
    Mutant(
        "a header is followed for ever",
        "pricing/images.py",
        "STEPS_MAX = 1_000\n",
        "STEPS_MAX = 300_000\n",
        _IMAGES,
    ),
    Mutant(
        "a picture elsewhere is a small one",
        "pricing/vision.py",
        "        tiles = 8 if image.size is None else _tiles(image.size)\n",
        "        tiles = 4 if image.size is None else _tiles(image.size)\n",
        _VISION,
    ),
    Mutant(
        "a picture is not scaled up to whole pixels",
        "pricing/vision.py",
        "    short_scaled = min(short, 768, -(-short * 2048 // long))\n",
        "    short_scaled = min(short, 768, short * 2048 // long)\n",
        _VISION,
    ),
)
