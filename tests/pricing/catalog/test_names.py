"""A model is found under its whole name or by a rule that is written down, never by a prefix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.catalog.names import NAME_CHARS_MAX, REWRITINGS_MAX, RULES, candidates
from pricing.catalog.providers import (
    OWN_SERVERS,
    PROVIDERS,
    Provider,
    provider_named,
    provider_of_host,
)

CASES = (
    ("openai", "openai/gpt-5", "gpt-5", "provider prefix"),
    ("google", "gemini/gemini-2.5-pro", "gemini-2.5-pro", "provider prefix"),
    ("google", "models/gemini-2.5-pro", "gemini-2.5-pro", "resource name"),
    (
        "vertex",
        "publishers/anthropic/models/claude-opus-5-5",
        "claude-opus-5-5",
        "resource name",
    ),
    (
        "bedrock",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5",
        "us.anthropic.claude-opus-5",
        "profile's ARN",
    ),
    (
        "bedrock",
        "us.anthropic.claude-opus-5",
        "regional.anthropic.claude-opus-5",
        "geography",
    ),
    ("bedrock", "us.meta.llama4-scout-v1:0", "meta.llama4-scout-v1:0", "geography"),
    ("bedrock", "anthropic.claude-opus-5", "regional.anthropic.claude-opus-5", "in-region"),
    ("bedrock", "amazon.nova-pro", "amazon.nova-pro-v1:0", "version"),
    (
        "bedrock",
        "global.anthropic.claude-opus-5-v1:0",
        "global.anthropic.claude-opus-5",
        "version",
    ),
    (
        "openai",
        "ft:gpt-4o-mini-2024-07-18:acme::abc123",
        "ft:gpt-4o-mini-2024-07-18",
        "fine-tuned",
    ),
    ("anthropic", "claude-opus-4.6", "claude-opus-4-6", "dotted version"),
    ("anthropic", "claude-haiku-5-5-20261001", "claude-haiku-5-5", "dated snapshot"),
    ("openai", "gpt-5-mini-2025-08-07", "gpt-5-mini", "dated snapshot"),
    ("vertex", "claude-haiku-4-5@20251001", "claude-haiku-4-5", "dated snapshot"),
    (
        "anthropic",
        "claude-3-5-haiku-20241022",
        "claude-3-5-haiku-latest",
        "only snapshot",
    ),
    ("vertex", "claude-opus-5@default", "claude-opus-5", "default version"),
)  # fmt: skip


@pytest.mark.parametrize(("provider", "asked", "listed", "rule"), CASES)
def test_each_rule_leads_to_the_listed_name(
    provider: str, asked: str, listed: str, rule: str
) -> None:
    """What people and APIs write becomes what lists write, and the rule says what it is for."""
    assert dict(candidates(provider_named(provider), asked))[listed] == (rule,)


def test_every_rule_has_a_case() -> None:
    """No rewriting is there for nobody."""
    assert {case[3] for case in CASES} == {"provider prefix", *(rule.what for rule in RULES)}


def test_rules_combine_and_the_closest_name_comes_first() -> None:
    """An ARN with a geography and a version is found; fewer rewritings are tried first."""
    asked = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-opus-5-v1:0"
    found = dict(candidates(PROVIDERS["bedrock"], asked))
    assert found["regional.anthropic.claude-opus-5"] == ("profile's ARN", "geography", "version")
    lengths = [len(rules) for rules in found.values()]
    assert lengths == sorted(lengths)
    assert max(lengths) <= REWRITINGS_MAX


@pytest.mark.parametrize(
    ("provider", "asked", "wrong"),
    [
        ("openai", "gpt-5.5-pro", "gpt-5.5"),
        ("openai", "gpt-5-mini", "gpt-5"),
        ("openai", "gpt-4o-mini-2024", "gpt-4o-mini"),
        ("groq", "openai/gpt-oss-20b", "gpt-oss-20b"),
        ("mistral", "mistral-large-latest", "mistral-large"),
        ("openrouter", "anthropic/claude-opus-5:nitro", "anthropic/claude-opus-5"),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x1", "x1"),
        ("bedrock", "global.anthropic.claude-opus-5", "regional.anthropic.claude-opus-5"),
        ("bedrock", "eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("bedrock", "us-gov.anthropic.claude-opus-5", "regional.anthropic.claude-opus-5"),
        ("bedrock", "us-gov-east-1/anthropic.claude-opus-5", "anthropic.claude-opus-5"),
        ("bedrock", "arn:aws:bedrock:eu-west-1::foundation-model/amazon.x", "amazon.x"),
    ],
)
def test_a_name_that_is_another_models_is_never_tried(
    provider: str, asked: str, wrong: str
) -> None:
    """A beginning, an alias that moves, a variant or an opaque id is not the model."""
    assert wrong not in dict(candidates(provider_named(provider), asked))


@given(st.text(max_size=40), st.sampled_from(sorted(PROVIDERS)))
def test_any_name_has_few_candidates_and_none_is_empty(name: str, provider: str) -> None:
    """Whatever is asked, rewriting ends, and the name itself comes first."""
    found = list(candidates(PROVIDERS[provider], name))
    assert len(found) < 100
    assert all(each for each, _ in found)
    if name.strip():
        assert found[0] == (name.strip().casefold(), ())


def test_a_name_without_end_has_no_candidate() -> None:
    """Nothing is rewritten that no list can have."""
    assert list(candidates(PROVIDERS["openai"], "x" * (NAME_CHARS_MAX + 1))) == []


def test_each_spelling_is_one_providers() -> None:
    """No alias stands for two, and each provider is found under all of its names."""
    spellings = [name for each in PROVIDERS.values() for name in each.names]
    assert len(spellings) == len(set(spellings))
    for each in PROVIDERS.values():
        for name in each.names:
            assert provider_named(f" {name.upper()} ") == each
    assert not set(spellings) & OWN_SERVERS


def test_a_provider_without_a_line_has_its_own_name_everywhere() -> None:
    """It is looked up as written, and what is no name is nobody."""
    assert provider_named("novita") == Provider("novita", genai=("novita",), litellm=("novita",))
    assert provider_named("../etc").name == ""


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("api.openai.com", "openai"),
        ("API.DeepSeek.com.", "deepseek"),
        ("europe-west1-aiplatform.googleapis.com", "vertex"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock"),
        ("acme-us.openai.azure.com", "azure"),
        ("acme-us.services.ai.azure.com", "azure_ai"),
        ("acme.eastus.models.ai.azure.com", "azure_ai"),
    ],
)
def test_a_known_server_says_who_bills(host: str, owner: str) -> None:
    """The wire format does not: DeepSeek, Mistral and xAI all speak OpenAI's."""
    found = provider_of_host(host)
    assert found is not None
    assert found.name == owner


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com.evil.example",
        "127.0.0.1",
        "openai.com",
        "openai.azure.com",
        "x.openai.azure.com.y",
        "",
    ],
)
def test_an_unknown_server_is_nobodys(host: str) -> None:
    """A price must not be had by a name that resembles one."""
    assert provider_of_host(host) is None
