"""The headers of Anthropic's API that a request may bring along: its version, and its betas.

A beta can change what a request costs without anything of it in the body. The names below are those
that Anthropic's SDKs list (anthropic-sdk-python, `AnthropicBetaParam`) and that Claude Code sends,
with what they mean for money. One that nobody here knows makes the request count as the whole
context window, and is passed on.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.errors import InvalidRequest, NotPriced
from gateway.upstream import HeaderBlock

VERSION = b"2023-06-01"
"""What a client that names no version gets: the only one that the API reference lists since."""
BETAS_MAX = 64
BETA_HEADER_BYTES_MAX = 4096
LONG_CONTEXT_TOKENS = 1_000_000

_VERSION = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# More than 200,000 tokens, at a price of its own for models that have one ("Context windows").
_LONG_CONTEXT = "context-1m-2025-08-07"
# Nothing is billed that is not in the body or in the cap: how answers are written, streamed and
# thought, what may stand in the body (which is judged by itself), what is told beside the answer.
_FREE = frozenset(
    (
        # Claude Code's own name, and how it is let in.
        *(
            "claude-code-20250219",
            "oauth-2025-04-20",
            "cli-internal-2026-02-09",
            "afk-mode-2026-01-31",
        ),
        # Thinking: within max_tokens in all its forms.
        *("interleaved-thinking-2025-05-14", "redact-thinking-2026-02-12", "effort-2025-11-24"),
        *("thinking-token-count-2026-05-13", "thinking-display-updates-2026-08-18"),
        *("thinking-binding-controls-2026-08-01", "task-budgets-2026-03-13"),
        # The output: longer caps are still caps.
        *("output-128k-2025-02-19", "output-300k-2026-03-24", "token-efficient-tools-2025-02-19"),
        *("fine-grained-tool-streaming-2025-05-14", "structured-outputs-2025-11-13"),
        *("structured-outputs-2025-12-15", "token-efficient-tools-2026-03-28"),
        *("model-context-window-exceeded-2025-08-26",),
        # Caching: what is written is asked for in the body.
        *("prompt-caching-2024-07-31", "prompt-caching-scope-2026-01-05"),
        *("extended-cache-ttl-2025-04-11", "cache-diagnosis-2026-04-07"),
        # Context editing only takes away; compaction has to be asked for in the body.
        *("context-management-2025-06-27", "compact-2026-01-12", "compact-2026-09-04"),
        # Kinds of content, tools and fields, each judged where it stands in the body.
        *("pdfs-2024-09-25", "files-api-2025-04-14", "token-counting-2024-11-01"),
        *("message-batches-2024-09-24", "computer-use-2024-10-22", "computer-use-2025-01-24"),
        *("computer-use-2025-11-24", "code-execution-2025-05-22", "code-execution-2025-08-25"),
        *("web-search-2025-03-05", "web-fetch-2025-09-10", "advisor-tool-2026-03-01"),
        *("advanced-tool-use-2025-11-20", "tool-search-tool-2025-10-19", "skills-2025-10-02"),
        *("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15"),
        *("message-threads-2026-08-12", "mid-conversation-system-2026-04-07"),
        *("mid-conversation-tool-changes-2026-07-01", "inline-tools-2026-09-15"),
        *("mid-conversation-output-config-2026-07-01", "fast-mode-2026-02-01"),
        *("mid-conversation-system-clear-at-2026-08-21", "dangerous-tool-use-2026-09-03"),
        *("per-turn-control-2026-07-01",),
    )
)
# Another model, or another payer, may serve the request: whose price holds is not known before.
_REFUSED = ("server-side-fallback-", "fallback-credit-", "user-profiles-billing-")


class Spoken(NamedTuple):
    """`headers`: what the provider is sent. `unknown`: a beta is among them that may bring content
    which nobody has seen. `context_tokens`: of the window that they open, 0 for the model's own."""

    headers: HeaderBlock
    unknown: bool
    context_tokens: int


def spoken(headers: Mapping[bytes, bytes]) -> Spoken:
    """Of the headers of a request. Raises InvalidRequest, NotPriced."""
    version = headers.get(b"anthropic-version", VERSION)
    if _VERSION.fullmatch(version) is None:
        raise InvalidRequest("anthropic-version is a date, as in 2023-06-01")
    line = b"anthropic-version: %b\r\n" % version
    said = headers.get(b"anthropic-beta")
    if said is None:
        return Spoken(HeaderBlock(line), unknown=False, context_tokens=0)
    betas = _betas(said)
    if not betas:
        return Spoken(HeaderBlock(line), unknown=False, context_tokens=0)
    # Written from what was read and matched: no line end can be in it.
    block = HeaderBlock(b"%banthropic-beta: %b\r\n" % (line, ",".join(betas).encode()))
    rest = set(betas) - _FREE
    context_tokens = LONG_CONTEXT_TOKENS if _LONG_CONTEXT in rest else 0
    return Spoken(block, not rest <= {_LONG_CONTEXT}, context_tokens)


def _betas(said: bytes) -> list[str]:
    if len(said) > BETA_HEADER_BYTES_MAX:
        raise InvalidRequest(f"anthropic-beta is longer than {BETA_HEADER_BYTES_MAX} bytes")
    names = [each.strip() for each in said.decode("latin-1").split(",") if each.strip()]
    if len(names) > BETAS_MAX:
        raise InvalidRequest(f"anthropic-beta names more than {BETAS_MAX} betas")
    for name in names:
        if _BETA.fullmatch(name) is None:
            raise InvalidRequest("anthropic-beta is a list of names, separated by commas")
        if name.startswith(_REFUSED):
            raise NotPriced(
                f"beta {name} changes who serves or pays, which has no price: remove it"
            )
    return names
