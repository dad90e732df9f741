"""Headers of the Messages API: which reach the provider, and which change what a request may
cost."""

import pytest

from gateway.dialects.messages_betas import BETAS_MAX, LONG_CONTEXT_TOKENS, spoken
from gateway.errors import InvalidRequest, NotPriced

# As Claude Code sends it with a model of the newest generation.
CLAUDE_CODE = (
    b"claude-code-20250219,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    b"context-management-2025-06-27,prompt-caching-scope-2026-01-05,"
    b"mid-conversation-system-2026-04-07,advisor-tool-2026-03-01,effort-2025-11-24"
)


def test_a_client_that_says_nothing_gets_the_one_version() -> None:
    """And one that names its own gets that; only a date is one."""
    assert spoken({}).headers == b"anthropic-version: 2023-06-01\r\n"
    said = spoken({b"anthropic-version": b"2026-10-21"})
    assert said.headers == b"anthropic-version: 2026-10-21\r\n"
    for odd in (b"", b"latest", b"2023-06-01\r\nx-api-key: y", b"2023-06-011"):
        with pytest.raises(InvalidRequest, match="anthropic-version"):
            spoken({b"anthropic-version": odd})


def test_the_betas_of_claude_code_cost_nothing_and_are_passed_on() -> None:
    """As they were named, without the white space."""
    said = spoken({b"anthropic-beta": CLAUDE_CODE.replace(b",", b" , ")})
    assert said.headers.endswith(b"anthropic-beta: " + CLAUDE_CODE + b"\r\n")
    assert (said.unknown, said.context_tokens) == (False, 0)


def test_an_unknown_beta_is_passed_on_and_counts_as_the_whole_window() -> None:
    """It may bring content that nobody has seen."""
    said = spoken({b"anthropic-beta": b"prompt-caching-2024-07-31,newer-2027-01-01"})
    assert said.unknown
    assert bytes(said.headers).endswith(b"newer-2027-01-01\r\n")


def test_a_larger_window_is_told() -> None:
    """What fills it is bounded by the price's own window, or not at all: see gateway.quoting."""
    said = spoken({b"anthropic-beta": b"context-1m-2025-08-07"})
    assert (said.unknown, said.context_tokens) == (False, LONG_CONTEXT_TOKENS)


@pytest.mark.parametrize(
    "name",
    [b"server-side-fallback-2026-07-01", b"fallback-credit-2026-06-01"],
)
def test_what_lets_another_serve_or_pay_is_refused(name: bytes) -> None:
    """Whose price holds is not known beforehand."""
    with pytest.raises(NotPriced, match="remove it"):
        spoken({b"anthropic-beta": b"prompt-caching-2024-07-31," + name})


@pytest.mark.parametrize(
    "said",
    [
        *(b"a b", b"x\r\ny", b"caf\xc3\xa9", b"a;b", b'"quoted"', b"x" * 101, b"y," * 5_000),
        b",".join([b"z"] * (BETAS_MAX + 1)),
    ],
)
def test_what_is_no_list_of_names_is_refused(said: bytes) -> None:
    """Nothing that could end a header line gets into one."""
    with pytest.raises(InvalidRequest, match="anthropic-beta"):
        spoken({b"anthropic-beta": said})


@pytest.mark.parametrize("said", [b"", b" ", b",,", b" , "])
def test_an_empty_list_is_none(said: bytes) -> None:
    """No header then."""
    assert spoken({b"anthropic-beta": said}).headers == b"anthropic-version: 2023-06-01\r\n"
