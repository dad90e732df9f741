"""Names: one model has one name, and a name that means nothing is not given a meaning."""

import pytest

from pricing.families import bare_name


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4-0613", "gpt-4"),
        ("openai", "GPT-4o-mini", "gpt-4o-mini"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", "gpt-4o-mini"),
        ("openrouter", "openai/gpt-5.4-mini", "gpt-5.4-mini"),
        ("fireworks_ai", "accounts/fireworks/models/gpt-oss-120b", "gpt-oss-120b"),
        ("bedrock", "us.anthropic.claude-opus-4-1-v1:0", "us.anthropic.claude-opus-4-1-v1:0"),
        ("azure", "gpt-4o", ""),
        ("azure_ai", "gpt-4o", ""),
        ("demo", "small", ""),
    ],
)
def test_the_name_of_a_model(provider: str, model: str, name: str) -> None:
    """Publisher, date and tuning go; where customers choose the names there is none."""
    assert bare_name(provider, model) == name


@pytest.mark.parametrize("model", ["ft:", "", "/", "-2024-01-01", "ft:::", "a/b/"])
def test_odd_names_are_no_failure(model: str) -> None:
    """Whatever an operator writes gives a text, never an exception."""
    assert isinstance(bare_name("openai", model), str)
