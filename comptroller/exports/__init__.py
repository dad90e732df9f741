"""What providers say that they have billed: their exports, read.

To add a provider: a module with the functions of `contract.Dialect`, and its line in DIALECTS.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from comptroller.exports import anthropic, openai
from comptroller.exports.contract import Dialect, Export, ExportInvalid, Line
from comptroller.exports.reading import read_export

__all__ = ["DIALECTS", "Dialect", "Export", "ExportInvalid", "Line", "read"]

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {"anthropic": anthropic.DIALECT, "openai": openai.DIALECT}
)


def read(provider: str, file: Path) -> Export:
    """The export in a file, JSON or CSV. Raises ExportInvalid, OSError."""
    return read_export(DIALECTS[provider], file)
