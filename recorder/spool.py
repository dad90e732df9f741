"""Where batches wait on the disk while the records are away: the ledger need not hold them.

A batch that was put here counts as confirmed: the ledger forgets it. So `put` returns only when it
is on the disk, a file is whole or not there, and one that was damaged later is refused by its name,
never skipped. The queue is bounded: when it is full, the ledger keeps what comes.
"""

import contextlib
import errno
import itertools
import re
import shutil
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from budgets.policy import parse_scope
from recorder.batch import Batch, Head
from recorder.durable import make_folder, sync_folder, write_new

MAGIC = b"comptroller-spool-1\n"
DISK_FREE_BYTES_MIN = 256 * 1024**2  # the ledger's server writes to the same disk
_DIGEST_BYTES = 32
_NAME = re.compile(r"(\d{10})-(\d{20})-(\d{20})\.batch")
_NEW = ".new"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Batch).decode


class SpoolFull(Exception):
    """No room for the batch; nothing was written. It goes on when the records are back."""


class SpoolDamaged(Exception):
    """A file of the spool is not what was written; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class SpoolRef:
    """A batch that waits: what is known of it without reading it."""

    organisation: str
    epoch: int
    first_seq: int
    last_seq: int
    path: Path


class Spool:
    """All organisations' batches in one folder, `<organisation>/<epoch>-<first>-<last>.batch`.
    Methods block and may be called from any thread; one process has the folder."""

    def __init__(
        self, folder: Path, bytes_max: int, disk_free_bytes_min: int = DISK_FREE_BYTES_MIN
    ) -> None:
        """Sweeps what a crash left half written."""
        make_folder(folder)
        self._disk_free_bytes_min = disk_free_bytes_min
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._bytes_used = 0
        for path in folder.glob("*/*"):
            if path.name.endswith(_NEW):
                path.unlink()
            else:
                self._bytes_used += path.stat().st_size

    @property
    def bytes_used(self) -> int:
        """Of all files, those under way included; never above the bound."""
        return self._bytes_used

    def organisations(self) -> tuple[str, ...]:
        """Those of which something waits."""
        files = self._folder.glob("*/*.batch")
        return tuple(sorted({each.parent.name for each in files if _NAME.fullmatch(each.name)}))

    def put(self, batch: Batch) -> None:
        """Keeps the batch; it is durable when this returns. Once more for the same token changes
        nothing. Raises SpoolFull (nothing was written), OSError."""
        path = self._path(batch)
        pieces = _pieces(batch)
        if _is_there(path, pieces):
            sync_folder(path.parent)  # whoever put it may have died before it did this
            return
        size = sum(map(len, pieces))
        self._take(size, batch)
        # A name of its own for each try: one that was given up on may still be under way.
        new = path.with_name(f"{path.name}.{next(self._numbers)}{_NEW}")
        try:
            make_folder(path.parent)
            write_new(new, pieces)
            with self._lock:  # so that of two tries for one token, one counts
                replaced = path.stat().st_size if path.exists() else 0
                new.replace(path)
                self._bytes_used -= replaced
        except BaseException as error:
            self._give_back(size)
            new.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise SpoolFull(f"{batch.token}: the disk of {self._folder} is full") from error
            raise
        sync_folder(path.parent)

    def pending(self, organisation: str) -> tuple[SpoolRef, ...]:
        """What waits, in the order of the log."""
        folder = self._folder_of(organisation)
        if not folder.is_dir():
            return ()
        refs = []
        for path in folder.iterdir():
            if match := _NAME.fullmatch(path.name):
                epoch, first, last = map(int, match.groups())
                refs.append(SpoolRef(organisation, epoch, first, last, path))
        return tuple(sorted(refs, key=lambda each: (each.epoch, each.first_seq, each.last_seq)))

    def load(self, ref: SpoolRef) -> Batch:
        """The batch as it was put. Raises SpoolDamaged."""
        try:
            content = memoryview(ref.path.read_bytes())
        except OSError as error:
            raise _damaged(ref, f"cannot be read: {error}") from error
        start = len(MAGIC) + _DIGEST_BYTES
        if content[: len(MAGIC)] != MAGIC:
            raise _damaged(ref, "does not begin as a file of this version's spool does")
        if sha256(content[start:]).digest() != content[len(MAGIC) : start]:
            raise _damaged(ref, "is not what was written: its checksum differs")
        try:
            batch = _decode(content[start:])
        except msgspec.MsgspecError as error:
            raise _damaged(ref, f"was written by another version: {error}") from error
        if self._path(batch) != ref.path:
            raise _damaged(ref, f"holds the batch {batch.token}: it was renamed")
        return batch

    def remove(self, ref: SpoolRef) -> None:
        """Forgets a batch that is in the records. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            with self._lock:
                size = ref.path.stat().st_size
                ref.path.unlink()
                self._bytes_used -= size
            sync_folder(ref.path.parent)

    def head(self, organisation: str) -> Head | None:
        """The end of what waits; None if nothing does. Raises SpoolDamaged."""
        pending = self.pending(organisation)
        return self.load(pending[-1]).head if pending else None

    def _path(self, batch: Batch) -> Path:
        name = f"{batch.head.epoch:010}-{batch.first_seq:020}-{batch.head.seq:020}.batch"
        return self._folder_of(batch.organisation) / name

    def _folder_of(self, organisation: str) -> Path:
        """Its name serves as it is: the first segment of a scope cannot be hidden, hold a slash or
        be too long. Raises PolicyInvalid or ValueError for what is no such name."""
        if len(parse_scope(organisation)) != 1:
            raise ValueError(f"{organisation!r} is a scope, not an organisation")
        return self._folder / organisation

    def _take(self, size_bytes: int, batch: Batch) -> None:
        with self._lock:
            if self._bytes_used + size_bytes > self._bytes_max:
                raise SpoolFull(
                    f"the spool holds {self._bytes_used} bytes of {self._bytes_max}: no room for "
                    f"the {size_bytes} of {batch.token} until the records are back"
                )
            free_bytes = shutil.disk_usage(self._folder).free
            if free_bytes < self._disk_free_bytes_min + size_bytes:
                raise SpoolFull(
                    f"the disk of {self._folder} has {free_bytes // 2**20} MiB free, and keeps "
                    f"{self._disk_free_bytes_min // 2**20}: make room"
                )
            self._bytes_used += size_bytes

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._bytes_used -= size_bytes


def _pieces(batch: Batch) -> list[bytes]:
    content = _encode(batch)
    return [MAGIC, sha256(content).digest(), content]


def _is_there(path: Path, pieces: list[bytes]) -> bool:
    """Whether the file is there with this content. What is there with another was damaged, or is
    of a try whose chain went otherwise: the batch that is put is the one that is gone on from."""
    return path.exists() and path.read_bytes() == b"".join(pieces)


def _damaged(ref: SpoolRef, what: str) -> SpoolDamaged:
    return SpoolDamaged(
        f"{ref.path} {what}. It has the events {ref.epoch}-{ref.first_seq} to "
        f"{ref.epoch}-{ref.last_seq} of {ref.organisation}, which are nowhere else: restore the "
        "file from a backup. If there is none, move it away: these events are then lost, and "
        "`comptroller verify` says so"
    )
