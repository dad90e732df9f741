"""Files that are there after a crash or a power cut: what the recorder says is kept is on the disk.

A file counts once its content and the folder that names it are synced; a name only ever appears on
a whole file. Everything here blocks.
"""

import os
from collections.abc import Iterable
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def make_folder(folder: Path) -> None:
    """The folder, for this user alone, durable with those above it that were made for it."""
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)  # even if it was there: whoever made it may have died before this


def write_new(path: Path, pieces: Iterable[bytes]) -> None:
    """A new file with this content, synced; its name is not yet. What cannot be written whole
    leaves nothing. Raises FileExistsError, OSError."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(number, "wb") as file:
        try:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


def append(path: Path, line: bytes) -> None:
    """All of the line at the end of the file, synced, or nothing of it. Raises OSError."""
    with path.open("ab") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            os.truncate(path, size)
            raise


def truncate(path: Path, size_bytes: int) -> None:
    """The first bytes of the file, synced."""
    with path.open("r+b") as file:
        file.truncate(size_bytes)
        os.fsync(file.fileno())


def rename(old: Path, new: Path) -> None:
    """Gives a synced file its name, which is synced too; what had the name before is gone."""
    old.replace(new)
    sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Makes names durable that appeared in the folder, or went."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def replace(path: Path, content: bytes) -> None:
    """A small file with this content, durable; a crash leaves the old one or the new one."""
    new = path.with_name(f".{path.name}")
    new.unlink(missing_ok=True)
    write_new(new, [content])
    rename(new, path)
