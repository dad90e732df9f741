"""What a program prints, within bounds. Pure."""

from collections.abc import Callable, Sequence

LINE_BYTES_MAX = 8_192
"""Of one line of the log; longer ones are cut into several."""
ERROR_CHARS_MAX = 4_000
"""Kept of the end of what it prints to stderr, for the message of its failure: the log has all."""
HIDDEN = b"***"


def without(secrets: Sequence[str], data: bytes) -> bytes:
    """The same, with `***` for each secret; in JSON, too, where a key has nothing to be escaped."""
    for each in secrets:
        data = data.replace(each.encode(), HIDDEN) if each else data
    return data


class Head:
    """The first bytes; `is_over` where there were more."""

    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self.is_over = False
        self._bytes_max = bytes_max

    def take(self, data: bytes) -> None:
        """The next ones."""
        free = self._bytes_max - len(self.data)
        self.data += data[:free]
        self.is_over = self.is_over or len(data) > free


class Errors:
    """Lines for a log as they come, and the last of them. Secrets are hidden in both."""

    def __init__(self, secrets: Sequence[str], log: Callable[[str], None]) -> None:
        self._secrets = secrets
        self._log = log
        self._begun = b""
        self._tail = ""

    def take(self, data: bytes) -> None:
        """The next bytes."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        for each in lines:
            self._line(each)
        if len(self._begun) > 2 * LINE_BYTES_MAX:
            self._cut(self._begun)

    def end(self) -> None:
        """The last line may have no end."""
        if self._begun:
            self._line(self._begun)
        self._begun = b""

    def last(self) -> str:
        """`: ...` and the end of what it said, or nothing."""
        said = self._tail.strip()
        return f": {said}" if said else ""

    def _cut(self, begun: bytes) -> None:
        """A secret may end beyond what has come, so that as much is kept as one may have; and none
        is cut in two, because they are hidden first."""
        begun = without(self._secrets, begun)
        while len(begun) > 2 * LINE_BYTES_MAX:
            self._say(begun[:LINE_BYTES_MAX])
            begun = begun[LINE_BYTES_MAX:]
        self._begun = begun

    def _line(self, data: bytes) -> None:
        data = without(self._secrets, data)
        for at in range(0, max(1, len(data)), LINE_BYTES_MAX):
            self._say(data[at : at + LINE_BYTES_MAX])

    def _say(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace").removesuffix("\r")
        self._tail = f"{self._tail}{line}\n"[-ERROR_CHARS_MAX:]
        self._log(line)
