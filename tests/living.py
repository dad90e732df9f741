"""Folders that somebody works in while they are looked at: engines and servers write, merge and
remove files all the time."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All that is in it, and what it is; without what is gone before it is looked at."""
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()


def contents_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file, and what is in it."""
    for path, found in below(folder):
        if stat.S_ISREG(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.read_bytes()
