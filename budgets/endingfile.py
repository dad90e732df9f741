"""One file of endings on the disk. Whoever holds its lock owns what is in it, living or dead.

A lock belongs to an open file, and the kernel lets go of it with the process. A name may be removed
between its opening and its locking: whoever has the lock looks whether the file still has a name.
Everything here blocks.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from budgets.endingrecords import (
    HEADER_BYTES,
    Ending,
    kept_record,
    mark_in,
    new_header,
    read_records,
    taken_record,
)

SUFFIX, DAMAGED_SUFFIX = ".endings", ".damaged"
_NAME = re.compile(r"[0-9a-f]{32}(-[0-9])?\.endings")
_NAMES_TRIED_MAX = 5


class EndingFile:
    """A file of this process. Its `size_bytes` are whole and synced; what fails leaves none."""

    def __init__(self, path: Path, descriptor: int, mark: bytes, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.is_damaged = self.is_gone = False
        self._descriptor = descriptor
        self._mark = mark

    @classmethod
    def create(cls, folder: Path, name: str) -> "EndingFile":
        """A new one with nothing in it, durable. Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        header = new_header()
        for number in range(_NAMES_TRIED_MAX):
            path = folder / f"{name}-{number}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if _is_ours(descriptor):  # nobody took it for a dead worker's in between
                break
            os.close(descriptor)
        else:
            raise OSError(errno.EBUSY, f"others lock every new file in {folder}")
        file = cls(path, descriptor, mark_in(header), 0)
        try:
            file._write(header)
            _sync_folder(folder)
        except OSError:
            with contextlib.suppress(OSError):
                file.remove()
            raise
        return file

    @classmethod
    def take_up(cls, path: Path) -> "tuple[EndingFile, dict[int, Ending]] | None":
        """The file of a worker that is dead, and the endings in it; None while somebody has it.
        Raises OSError."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags)
        try:
            if not _is_ours(descriptor):
                os.close(descriptor)
                return None
            found = read_records(_content(descriptor))
            file = cls(path, descriptor, found.mark, found.whole_bytes)
            file.is_damaged = found.is_damaged
        except BaseException:
            os.close(descriptor)
            raise
        return file, found.endings

    @property
    def takes_more(self) -> bool:
        """Whether records can be written behind those that are there."""
        return self.size_bytes >= HEADER_BYTES and not (self.is_damaged or self.is_gone)

    def keep(self, endings: Iterable[tuple[int, Ending]]) -> list[int]:
        """All of them or none, synced; the sizes of their records. Raises OSError."""
        records = [kept_record(self._mark, *each) for each in endings]
        self._write(b"".join(records))
        return [len(each) for each in records]

    def mark_taken(self, numbers: Iterable[int]) -> None:
        """Notes that the ledger has these. It need not be durable: to repeat them does no harm.
        Raises OSError."""
        self._write(b"".join(taken_record(self._mark, each) for each in numbers), sync=False)

    def _write(self, content: bytes, *, sync: bool = True) -> None:
        left, at = memoryview(content), self.size_bytes
        try:
            while left:
                written = os.pwrite(self._descriptor, left, at)
                left, at = left[written:], at + written
            if sync:
                os.fdatasync(self._descriptor)
                self._must_have_a_name()
        except OSError:
            self._forget_the_rest()
            raise
        self.size_bytes = at

    def _must_have_a_name(self) -> None:
        """Somebody may have removed the file: nobody would find what is in it."""
        if not os.fstat(self._descriptor).st_nlink:
            self.is_gone = True
            raise OSError(errno.ENOENT, f"{self.path} was removed while it was written")

    def _forget_the_rest(self) -> None:
        """After a write that failed nobody knows what is on the disk behind the whole records."""
        try:
            os.ftruncate(self._descriptor, self.size_bytes)
        except OSError:
            self.is_damaged = True

    def remove(self) -> None:
        """It is not needed any more. Raises OSError: then it stays ours, so that nobody takes up
        what the ledger has."""
        self.path.unlink(missing_ok=True)
        self.close()

    def set_aside(self) -> Path:
        """Keeps a damaged file for people, under a name that nobody takes up; that name. Raises
        OSError."""
        aside = self.path.with_suffix(DAMAGED_SUFFIX)
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside)
        self.close()
        return aside

    def close(self) -> None:
        """Lets go of it: whoever comes next takes it up. The second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def files_in(folder: Path) -> list[Path]:
    """Those that are named as ours, oldest first."""
    try:
        return sorted(each for each in folder.iterdir() if _NAME.fullmatch(each.name))
    except FileNotFoundError:
        return []


def bytes_in(folder: Path) -> int:
    """What they hold together."""
    total = 0
    for path in files_in(folder):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _is_ours(descriptor: int) -> bool:
    """Takes the lock; False where somebody has it, or had it and removed the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _content(descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "what has the name of a file of endings is no file")
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return stream.read()


def _sync_folder(folder: Path) -> None:
    """Makes a new name in it durable, and the folder's own."""
    for each in (folder, folder.parent):
        number = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
