"""One translator for each test process: it takes seconds to import LiteLLM."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.translator.standing import Translator, translating


@pytest.fixture(scope="session")
def translator() -> Iterator[Translator]:
    """See `tests.translator.buggy`."""
    with tempfile.TemporaryDirectory(prefix="ct-") as name, translating(Path(name)) as running:
        yield running
