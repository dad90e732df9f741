"""What the records need to know of a wire format: the answer as one object, and its tools.

Bodies are hostile: providers, proxies and models wrote them, and any of them may have been cut.
Nothing here raises; what cannot be read is left out. Everything is a pure function of its bytes,
because a recorder that starts again must write the identical rows.
"""

from dataclasses import dataclass
from typing import Protocol

ASSEMBLED_CALLS_MAX = 1024
"""Calls put together of one stream; OpenAI allows 128 tools in a request."""
TOOL_CALLS_MAX = 32
"""Calls listed of one answer: each is a row, and a batch of events must stay one block."""
RESULTS_MAX = 32
"""Results listed of one request."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model asked for. Sizes and hashes are of the UTF-8 of its arguments as the
    model wrote them. `left_out` is 0, but on the last of too many calls the number of those after
    it that are not listed."""

    id: str
    name: str
    arguments_bytes: int
    arguments_sha256: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered. A result that is no string is counted and hashed as its JSON without
    white space. `name` is '' where no call with that id is in sight; `left_out` as in ToolCall."""

    call_id: str
    name: str
    result_bytes: int
    result_sha256: str
    left_out: int = 0


class Surface(Protocol):
    """One wire format."""

    def assembled(self, body: bytes) -> bytes:
        """A recorded stream as the object that the same answer is without streaming; a body that
        is no stream comes back as it is. The same bytes in give the same bytes out. Whatever is
        missing is said in a field `comptroller` (see the surface)."""
        ...

    def finish_reason(self, answer: bytes) -> str:
        """Why a whole or assembled answer ended, by its first choice; empty where it says none."""
        ...

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:
        """The calls in a whole or assembled answer, in order, of all choices; at most
        TOOL_CALLS_MAX. Nothing is found in what is no answer."""
        ...

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:
        """The results that are new in a request: those that answer the model's last message. Older
        ones came with older requests. At most RESULTS_MAX."""
        ...
