"""The second opinion: LiteLLM's bundled map of prices, read as data.

The package is found, not imported: importing it takes seconds and a hundred megabytes. Nor is its
map read whole, which as objects is twenty times its 3.5 MB: each model stays the bytes that it is
until somebody asks for it. It may be absent, and then there is one opinion less.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import msgspec

from pricing.catalog.info import FRAMING, LIMITS, decimal_text, is_money
from pricing.catalog.source import Listed

PACKAGE = "litellm"
FILE = "model_prices_and_context_window_backup.json"
INSTALL = "pip install 'comptroller[litellm]'"
"""What brings the map."""


class _Sold(msgspec.Struct):
    """What of a model is needed to find it."""

    litellm_provider: object = None


_INFO = msgspec.json.Decoder(dict[str, object], float_hook=Decimal)
_KEPT = (*LIMITS, *FRAMING, "mode", "supports_reasoning", "deprecation_date")


class LitellmMap:
    """LiteLLM's map as installed. It says what a model costs now, and nothing of other times."""

    name = "litellm"

    def __init__(self, content: bytes) -> None:
        """`content`: the map as JSON, `{model name: model_info}`. Raises msgspec.DecodeError."""
        self._content = msgspec.json.decode(content, type=dict[str, msgspec.Raw])

    @classmethod
    def load(cls) -> "LitellmMap | None":
        """The installed one; None without the package or its map."""
        content = _read()
        return None if content is None else cls(content)

    @cached_property
    def version(self) -> str:
        try:
            return version(PACKAGE)
        except PackageNotFoundError:
            return "of unknown version"

    @cached_property
    def _by_seller(self) -> Mapping[str, Mapping[str, str]]:
        """Value of litellm_provider -> {name as people write it: the map's key}."""
        sellers: dict[str, dict[str, str]] = {}
        decoder = msgspec.json.Decoder(_Sold)
        for key, info in self._content.items():
            seller = decoder.decode(info).litellm_provider
            if isinstance(seller, str):
                listed = sellers.setdefault(seller, {})
                listed[key.casefold()] = key
        for listed in sellers.values():
            for name, key in list(listed.items()):
                route, _, rest = name.partition("/")
                # `gemini/gemini-2.5-pro` is Google's gemini-2.5-pro; a key without a route is kept.
                if rest and route in _ROUTES:
                    listed.setdefault(rest, key)
        return sellers

    def find(self, lists: Sequence[str], names: Iterable[str], at_ms: int) -> Listed | None:  # noqa: ARG002  # it has no dates
        """The first of `names` in `lists` (values of litellm_provider); at any moment the same."""
        sellers = [listed for each in lists for listed in self._sellers(each)]
        for name in names:
            for listed in sellers:
                if name in listed:
                    key = listed[name]
                    return Listed(key, _kept(_INFO.decode(self._content[key])), under=name)
        return None

    def names(self, lists: Sequence[str]) -> Iterator[str]:
        """Each name under which something is listed, for suggestions."""
        for each in lists:
            for listed in self._sellers(each):
                yield from listed

    def _sellers(self, pattern: str) -> Iterator[Mapping[str, str]]:
        for seller, listed in self._by_seller.items():
            begins = pattern.endswith("*") and seller.startswith(pattern[:-1])
            if begins or seller == pattern:
                yield listed


# What LiteLLM writes in front of a model to route it: in the map's keys, not in anybody's API.
_ROUTES = frozenset({
    *("openai", "anthropic", "gemini", "vertex_ai", "bedrock", "azure", "azure_ai", "deepseek"),
    *("mistral", "codestral", "xai", "groq", "openrouter", "cohere", "together_ai"),
    *("fireworks_ai", "perplexity", "cerebras", "moonshot", "voyage", "zai", "bedrock_mantle"),
})  # fmt: skip


def _read() -> bytes | None:
    spec = find_spec(PACKAGE)
    loader = getattr(spec, "loader", None)
    get_data = getattr(loader, "get_data", None)
    if spec is None or not spec.submodule_search_locations or get_data is None:
        return None
    try:
        content = get_data(f"{spec.submodule_search_locations[0]}/{FILE}")
    except OSError:  # a package without its map: as good as none
        return None
    assert isinstance(content, bytes)
    return content


def _kept(info: Mapping[str, object]) -> dict[str, object]:
    """Money, limits and framing; numbers as decimal text, so that no float ever is money."""
    return {
        key: _plain(value)
        for key, value in info.items()
        if value is not None and (key in _KEPT or is_money(key))
    }


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
