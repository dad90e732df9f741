"""Wire formats as the records read them. To add a surface is to add a file and a line below; an
endpoint without one is recorded as the bytes that it is."""

from collections.abc import Mapping
from types import MappingProxyType

from recorder.surfaces.chat import ChatSurface
from recorder.surfaces.completions import CompletionsSurface
from recorder.surfaces.contract import (
    ASSEMBLED_CALLS_MAX,
    RESULTS_MAX,
    TOOL_CALLS_MAX,
    Surface,
    ToolCall,
    ToolResult,
)
from recorder.surfaces.embeddings import EmbeddingsSurface
from recorder.surfaces.messages import MessagesSurface
from recorder.surfaces.responses import ResponsesSurface

SURFACES: Mapping[str, Surface] = MappingProxyType(
    {
        "/v1/chat/completions": ChatSurface(),
        "/v1/completions": CompletionsSurface(),
        "/v1/embeddings": EmbeddingsSurface(),
        "/v1/messages": MessagesSurface(),
        "/v1/responses": ResponsesSurface(),
    }
)


def surface_of(endpoint: str) -> Surface | None:
    """The surface of an endpoint's path; None: not known, nothing is read from its bodies."""
    return SURFACES.get(endpoint)


__all__ = [
    "ASSEMBLED_CALLS_MAX",
    "RESULTS_MAX",
    "SURFACES",
    "TOOL_CALLS_MAX",
    "Surface",
    "ToolCall",
    "ToolResult",
    "surface_of",
]
