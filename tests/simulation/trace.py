"""What happened, in order: the last lines to read, and a digest of all of them to compare runs."""

from collections import deque
from hashlib import blake2b
from typing import Any

LINES_KEPT = 400


class Trace:
    """`digest` covers every line and every step's process; two runs of one seed have the same."""

    def __init__(self, time: Any, *, keep: int = LINES_KEPT) -> None:
        self._time = time
        self._lines: deque[tuple[float, str, str, tuple[Any, ...]]] = deque(maxlen=keep)
        self._hash = blake2b(digest_size=16)

    def note(self, who: str, text: str, *values: Any) -> None:
        """One line; values are put into the text when somebody reads it."""
        at_s = self._time()
        self._lines.append((at_s, who, text, values))
        self._hash.update(f"{at_s:.6f} {who} {text} {values!r}\n".encode())

    def script(self, who: str, name: str, args: list[bytes], reply: Any) -> None:
        """One script call: its first words and its answer."""
        words = tuple(_short(each) for each in args[1:3])
        answer = tuple(map(_short, reply[:4])) if isinstance(reply, list) else (str(reply),)
        self.note(who, "%s %s -> %s", name, words, answer)

    def ran(self, process: Any) -> None:
        """A step of this process."""
        self._hash.update(process.name.encode())

    def digest(self) -> str:
        """Of everything so far."""
        return self._hash.hexdigest()

    def text(self) -> str:
        """The last lines."""
        return "\n".join(
            f"{at_s:12.4f} {who:12} {text % values if values else text}"
            for at_s, who, text, values in self._lines
        )


def _short(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:40].decode("ascii", "replace")
    if isinstance(value, list):
        return f"[{len(value)}]"
    return value
