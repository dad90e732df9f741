"""Which days retention has dropped, in a file beside the signed heads: a log may begin after them.

It is outside the database, so that whoever removes days there cannot pass it off as retention.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from recorder.durable import replace

_FORMAT = "%Y%m%d"


def note_dropped(folder: Path, day: int) -> None:
    """Events of days up to this one (as 20261124) may be gone from now on. Durable."""
    if day > _last_dropped(folder):
        replace(_file(folder), str(day).encode())


def kept_since_ms(folder: Path) -> int:
    """The beginning (UTC) of the first day that retention has not touched; 0 where it never has."""
    day = _last_dropped(folder)
    if not day:
        return 0
    moment = datetime.strptime(str(day), _FORMAT).replace(tzinfo=UTC) + timedelta(days=1)
    return int(moment.timestamp() * 1000)


def _last_dropped(folder: Path) -> int:
    file = _file(folder)
    return int(file.read_text(encoding="ascii")) if file.exists() else 0


def _file(folder: Path) -> Path:
    return folder / "dropped"
