"""Logs: one file for each part below `<data dir>/logs`, JSON lines, bounded.

A process writes to its standard error, which is that file, so that whatever it says is in it: a
traceback of Python's as well as the last words of a C library. Whoever started the processes keeps
the files short.
"""

import json
import logging
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LOG_BYTES_MAX = 16 * 2**20
MESSAGE_CHARS_MAX = 8192


class JsonLines(logging.Formatter):
    """One JSON object in each line: time (UTC), level, part, logger, message, and a traceback."""

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
            entry["traceback"] = self.formatException(record.exc_info)[:MESSAGE_CHARS_MAX]
        return json.dumps(entry, ensure_ascii=False)


def log_as(part: str) -> None:
    """Everything that this process logs, as JSON lines on its standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(part))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every call, with its URL


def opened(path: Path) -> BinaryIO:
    """A log to append to, for its owner's eyes only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab")


def shorten(folder: Path) -> None:
    """What is longer than LOG_BYTES_MAX becomes `<name>.log.1` and begins anew. Its writers append
    and keep the file open, so it is emptied in place; a line written meanwhile may be lost."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def last_words(path: Path) -> str:
    """The last line of a log, as a person would say it."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    last = lines[-1] if lines else "it said nothing"
    try:
        return str(json.loads(last)["message"])
    except (ValueError, KeyError, TypeError):
        return last.removeprefix("comptroller: ")
