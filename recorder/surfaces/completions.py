"""OpenAI's legacy completions as the records read them: a stream becomes the answer that it would
have been in one piece. The shapes are those of the API reference ("Completions", legacy).

An event of theirs has the fields of a whole answer, and pieces of `text` where those of chat have
pieces of a message: what is said there of assembling, its limits and its marks holds here, too.
"""

from recorder.surfaces.chat import ChatSurface
from recorder.surfaces.contract import ToolCall, ToolResult


class CompletionsSurface(ChatSurface):
    """See Surface. There are no tools here, whatever a text looks like."""

    __slots__ = ()

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:  # noqa: ARG002  # none
        """See Surface."""
        return ()

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:  # noqa: ARG002  # none
        """See Surface."""
        return ()
