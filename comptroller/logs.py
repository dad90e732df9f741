"""Logs: one file for each part below `<data dir>/logs`, JSON lines, bounded.

A process writes to its standard error, which is that file, so that whatever it says is in it: a
traceback of Python's as well as the last words of a C library. Whoever started the processes keeps
the files short.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 16 * 2**20
MESSAGE_CHARS_MAX = 8192
LAST_WORDS_BYTES_MAX = 64 * 1024


class JsonLines(logging.Formatter):
    """One JSON object in each line: time (UTC), level, part, logger, message, and a traceback.
    Only ASCII, so that no character in it is a line's end, or none that the stream can write."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        at = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "part": self._part,
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_CHARS_MAX],
        }
        if record.exc_info:
            # Its end says what happened.
            entry["traceback"] = self.formatException(record.exc_info)[-MESSAGE_CHARS_MAX:]
        return json.dumps(entry)


def log_as(part: str) -> None:
    """Everything that this process logs, as JSON lines on its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(part))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every call, with its URL


def opened(path: Path) -> BinaryIO:
    """A log to append to, for its owner's eyes only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab")


def shorten(folder: Path) -> None:
    """Of a log that is longer than LOG_BYTES_MAX the newest so many bytes become `<name>.log.1`, in
    whole lines, and it begins anew. Its writers append and keep the file open, so it is emptied in
    place; a line written meanwhile may be lost. Raises OSError."""
    for path in folder.glob("*.log"):
        size_bytes = path.stat().st_size
        if size_bytes > LOG_BYTES_MAX:
            with path.open("rb") as log:
                log.seek(size_bytes - LOG_BYTES_MAX)
                log.readline(LOG_BYTES_MAX)  # the rest of one that is not whole
                newest = log.read(LOG_BYTES_MAX)
            earlier = path.with_name(f"{path.name}.1")
            earlier.unlink(missing_ok=True)
            with opened(earlier) as kept:
                kept.write(newest)
            os.truncate(path, 0)


def last_words(path: Path, since_bytes: int = 0) -> str:
    """The last line of what a log has after so many bytes, as a person would say it. Raises
    OSError."""
    size_bytes = path.stat().st_size
    begin_bytes = since_bytes if since_bytes <= size_bytes else 0  # it was shortened meanwhile
    with path.open("rb") as log:
        log.seek(max(begin_bytes, size_bytes - LAST_WORDS_BYTES_MAX))
        text = log.read(LAST_WORDS_BYTES_MAX).decode("utf-8", "replace").rstrip()
    last = text.rpartition("\n")[2] or "it said nothing"
    try:
        return str(json.loads(last)["message"])
    except (ValueError, KeyError, TypeError):
        return last.removeprefix("comptroller: ")
