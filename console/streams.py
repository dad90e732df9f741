"""How many live streams are open, of how many that may be."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from console.errors import TooManyStreams


class Streams:
    """How many are open, of how many that may be."""

    def __init__(self, streams_max: int, organisation_streams_max: int) -> None:
        self._streams_max = streams_max
        self._organisation_streams_max = organisation_streams_max
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, organisation: str) -> Iterator[None]:
        """One of them, for a token of an organisation ("": of all). Raises TooManyStreams."""
        if self._open.total() >= self._streams_max:
            raise TooManyStreams(f"{self._streams_max} streams are open, which is the most")
        if organisation and self._open[organisation] >= self._organisation_streams_max:
            raise TooManyStreams(
                f"{self._organisation_streams_max} streams of {organisation} are open, which is "
                "the most"
            )
        self._open[organisation] += 1
        try:
            yield
        finally:
            self._open[organisation] -= 1
            self._open += Counter()  # drops names that hold nothing
