"""OpenAI's embeddings as the records read them: an answer is one piece, vectors and all, and stays
the bytes that it is. Nothing is produced that could end for a reason, and there are no tools.
"""

from recorder.surfaces.contract import ToolCall, ToolResult


class EmbeddingsSurface:
    """See Surface."""

    __slots__ = ()

    def assembled(self, body: bytes) -> bytes:
        """See Surface."""
        return body

    def finish_reason(self, answer: bytes) -> str:  # noqa: ARG002  # none
        """See Surface."""
        return ""

    def tool_calls(self, answer: bytes) -> tuple[ToolCall, ...]:  # noqa: ARG002  # none
        """See Surface."""
        return ()

    def tool_results(self, request: bytes) -> tuple[ToolResult, ...]:  # noqa: ARG002  # none
        """See Surface."""
        return ()
