"""Who sells models, under which names each list knows them, and which servers are theirs.

Operators write `gemini`, LiteLLM's map writes `gemini` or `vertex_ai-language-models`, genai-prices
writes `google`. A name that is matched loosely finds somebody else's price, so each spelling is a
line of this table, and a provider that has no line is looked up under exactly its own name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Provider:
    """One seller of models.

    `genai`: its ids in genai-prices, never those of the maker of what it resells: Azure's and
    Google's prices of others' models are their own. `litellm`: values of `litellm_provider`; one
    that ends in `*` is a beginning.
    `hosts`: the servers that bill its prices.
    """

    name: str
    aliases: tuple[str, ...] = ()
    genai: tuple[str, ...] = ()
    litellm: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All spellings that an operator may use, its own first."""
        return (self.name, *self.aliases)


_TABLE = (
    Provider(
        "openai", ("text-completion-openai",), ("openai",),
        ("openai", "text-completion-openai"), ("api.openai.com",),
    ),
    Provider("anthropic", ("claude",), ("anthropic",), ("anthropic",), ("api.anthropic.com",)),
    Provider(
        "google", ("gemini", "google-gla", "google_ai_studio"), ("google",), ("gemini",),
        ("generativelanguage.googleapis.com",),
    ),
    Provider(
        "vertex", ("vertex_ai", "vertex_ai_beta", "google-vertex"), ("google",),
        ("vertex_ai*",), ("aiplatform.googleapis.com",),
    ),
    Provider(
        "bedrock", ("aws", "amazon", "bedrock_converse", "amazon-bedrock"), ("aws",),
        ("bedrock", "bedrock_converse", "bedrock_mantle"),
    ),
    Provider("azure", ("azure_openai", "azure-openai"), ("azure",), ("azure",)),
    Provider("azure_ai", ("azure-ai",), ("azure",), ("azure_ai",)),
    Provider("deepseek", (), ("deepseek",), ("deepseek",), ("api.deepseek.com",)),
    Provider(
        "mistral", ("mistralai", "codestral"), ("mistral",), ("mistral", "codestral"),
        ("api.mistral.ai",),
    ),
    Provider("xai", ("x-ai", "x_ai"), ("x-ai",), ("xai",), ("api.x.ai",)),
    Provider("groq", (), ("groq",), ("groq",), ("api.groq.com",)),
    Provider(
        "openrouter", (), ("openrouter",), ("openrouter",), ("openrouter.ai", "api.openrouter.ai")
    ),
    Provider(
        "cohere", ("cohere_chat",), ("cohere",), ("cohere", "cohere_chat"), ("api.cohere.ai",)
    ),
    Provider(
        "together", ("together_ai", "together-ai"), ("together",), ("together_ai",),
        ("api.together.xyz",),
    ),
    Provider(
        "fireworks", ("fireworks_ai", "fireworks-ai"), ("fireworks",), ("fireworks_ai*",),
        ("api.fireworks.ai",),
    ),
    Provider("perplexity", (), ("perplexity",), ("perplexity",), ("api.perplexity.ai",)),
    Provider("cerebras", (), ("cerebras",), ("cerebras",), ("api.cerebras.ai",)),
    Provider(
        "moonshot", ("moonshotai",), ("moonshotai",), ("moonshot",), ("api.moonshot.ai",)
    ),
    Provider("voyage", ("voyageai",), ("voyageai",), ("voyage",), ("api.voyageai.com",)),
    Provider("zai", ("z-ai",), ("zai",), ("zai",), ("api.z.ai",)),
)  # fmt: skip

PROVIDERS: Mapping[str, Provider] = MappingProxyType({each.name: each for each in _TABLE})
"""Canonical name -> provider, makers of models first: the order in which a bare name is tried."""

OWN_SERVERS = frozenset({"custom_openai", "hosted_vllm", "openai_like"})
"""LiteLLM's names for somebody's own server: no list can know what it costs."""

_BY_NAME = MappingProxyType({name: each for each in _TABLE for name in each.names})
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def provider_named(text: str) -> Provider:
    """The provider of any spelling; one without a line in the table has that name everywhere."""
    name = text.strip().casefold()
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    return (
        Provider(name, genai=(name,), litellm=(name,)) if _PLAIN.fullmatch(name) else Provider("")
    )


def provider_of_host(host: str) -> Provider | None:
    """Whose server this is: OpenAI's wire format says nothing about who bills."""
    name = host.casefold().rstrip(".")
    for each in _TABLE:
        if name in each.hosts:
            return each
    if name.endswith("-aiplatform.googleapis.com"):  # `europe-west1-aiplatform...`
        return PROVIDERS["vertex"]
    for ending, owner in _AZURE_ENDINGS:  # each customer of Azure has a host
        if name.endswith(ending):
            return PROVIDERS[owner]
    return PROVIDERS["bedrock"] if _BEDROCK_HOST.fullmatch(name) else None


_AZURE_ENDINGS = (
    (".openai.azure.com", "azure"),
    (".services.ai.azure.com", "azure_ai"),
    (".models.ai.azure.com", "azure_ai"),
)
_BEDROCK_HOST = re.compile(r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
