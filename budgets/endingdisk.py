"""The disk behind the endings that wait: what is in it outlives the worker.

Only what has to wait comes here, so a ledger that answers costs no file. All file work is done by
one thread, a batch at a time: what comes while a batch is being synced is the next one, and a burst
of thousands costs few syncs. A disk that refuses leaves the endings where they were, in memory.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from budgets.endingfile import EndingFile, bytes_in, files_in
from budgets.endingrecords import Ending

DISK_RETRY_S = 2.0
FLUSH_S_MAX = 10.0
BATCH_BYTES_MAX = 8 * 1024 * 1024
COMPACTED_FROM_BYTES = 1024 * 1024
_log = logging.getLogger("comptroller.endings")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EndingsOptions:
    """Where endings wait that the ledger has not taken.

    In memory: `endings_waiting_max` of a worker at most, of `endings_bytes_max` together. On the
    disk, in `folder` (None: nowhere), the same bytes for all workers that share it; a body above
    `endings_body_bytes_max`, or that finds the folder full, is left out there, its money never.
    Beyond either bound nothing new is admitted."""

    endings_waiting_max: int = 10_000
    endings_bytes_max: int = 256 * 1024 * 1024
    endings_body_bytes_max: int = 1024 * 1024
    folder: Path | None = None


class Waiting:
    """An ending that the ledger has not taken. `number` is its place in `file`, if it has one;
    `adopted` is that of a dead worker."""

    __slots__ = ("adopted", "ending", "file", "number", "size_bytes", "taken", "wanted")

    def __init__(self, ending: Ending, *, adopted: bool = False) -> None:
        self.ending = ending
        self.adopted = adopted
        self.file: _Open | None = None
        self.number = 0
        self.size_bytes = 0
        self.wanted = False
        self.taken = False


class _Open:
    """A file of this process and who waits in it. One that is `retired` is written no more."""

    __slots__ = ("file", "live", "live_bytes", "retired")

    def __init__(self, file: EndingFile) -> None:
        self.file = file
        self.live: dict[int, Waiting] = {}
        self.live_bytes = 0
        self.retired = not file.takes_more

    def add(self, waiting: Waiting, number: int, size_bytes: int) -> None:
        """It waits here from now on."""
        self.live[number] = waiting
        self.live_bytes += size_bytes
        waiting.file, waiting.number, waiting.size_bytes = self, number, size_bytes

    def drop(self, waiting: Waiting) -> None:
        """It waits here no more."""
        del self.live[waiting.number]
        self.live_bytes -= waiting.size_bytes
        waiting.file = None


class EndingDisk:
    """All files that this worker has: one that it writes, and those of the dead. Methods that are
    not coroutines only take note, and belong to the loop."""

    def __init__(
        self,
        folder: Path,
        options: EndingsOptions,
        new_name: Callable[[], str],
        without_body: Callable[[bytes], bytes],
    ) -> None:
        """`without_body` tells an event that its body was left out."""
        self.folder = folder
        self.bytes_used = 0
        self._options = options
        self._new_name = new_name
        self._without_body = without_body
        self._thread = ThreadPoolExecutor(1, "endings")
        self._open: set[_Open] = set()
        self._own: _Open | None = None
        self._numbers = 0
        self._wanted: list[Waiting] = []
        self._taken: dict[_Open, list[int]] = {}
        self._ended: list[_Open] = []
        self._writer: asyncio.Task[None] | None = None
        self._rests_until_s = 0.0
        self._refused = False
        self._complained: set[Path] = set()
        self._closed = False

    def keep(self, waiting: Waiting) -> None:
        """Puts it on the disk, soon; `waiting.file` is there when it is."""
        if not waiting.wanted and not self._closed:
            waiting.wanted = True
            self._wanted.append(waiting)
            self._start()

    def took(self, waiting: Waiting) -> None:
        """The ledger has it: nobody need take it up any more."""
        waiting.taken = True
        if waiting.file is not None:
            self._leave(waiting.file, waiting)

    def _leave(self, place: _Open, waiting: Waiting) -> None:
        number = waiting.number
        place.drop(waiting)
        if place.live:
            if not place.retired:
                self._taken.setdefault(place, []).append(number)
            self._compact(place)
        elif place is not self._own:  # that one is the writer's to end: it may be writing it
            self._end(place)
        self._start()

    def _compact(self, place: _Open) -> None:
        """Those that wait for long must not keep the disk full of those that do not any more."""
        if not place.retired and place.file.size_bytes > max(
            COMPACTED_FROM_BYTES, 2 * place.live_bytes
        ):
            self._retire(place)

    def _retire(self, place: _Open) -> None:
        """Writes it no more: who waits in it moves to another file."""
        place.retired = True
        self._taken.pop(place, None)
        if place is self._own:
            self._own = None
        self._wanted += place.live.values()

    def _end(self, place: _Open) -> None:
        place.retired = True
        self._taken.pop(place, None)
        if place is self._own:
            self._own = None
        if place in self._open:
            self._open.discard(place)
            self._ended.append(place)

    def look_again(self) -> None:
        """Tries again what the disk has refused."""
        self._rests_until_s = 0.0
        self._start()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._closed or self._writer is not None or loop.time() < self._rests_until_s:
            return
        if self._has_work:
            self._writer = loop.create_task(self._write())

    @property
    def _has_work(self) -> bool:
        ended = self._ended or (self._own is not None and not self._own.live)
        return bool(self._wanted or self._taken or ended)

    async def _write(self) -> None:
        try:
            while self._has_work:
                await self._write_what_is_there()
        except Exception as error:  # noqa: BLE001  # whatever it is, memory has them
            self._rests_until_s = asyncio.get_running_loop().time() + DISK_RETRY_S
            if not self._refused:
                _log.error("endings cannot be kept on the disk, and wait in memory: %r", error)
            self._refused = True
        finally:
            self._writer = None

    async def _write_what_is_there(self) -> None:
        failed = await self._finished()
        taken, self._taken = self._taken, {}
        for place, numbers in taken.items():
            await self._marked(place, numbers)
        if batch := self._next_batch():
            await self._kept(batch)
            if self._refused:
                self._refused = False
                _log.warning("endings are kept on the disk again")
        if self._own is not None and not self._own.live:
            self._end(self._own)
        self.bytes_used = await self._in_thread(bytes_in, self.folder)
        if failed is not None:
            raise failed

    async def _finished(self) -> OSError | None:
        """Removes the files that are over; why one could not be, which is tried again later."""
        failed: OSError | None = None
        for place in self._ended[:]:
            try:
                await self._in_thread(_finish, place.file)
            except OSError as error:
                failed = error
            else:
                self._ended.remove(place)
        return failed

    def _next_batch(self) -> list[Waiting]:
        """Those that have waited longest, as many as are copied at once."""
        batch: list[Waiting] = []
        size_bytes = n = 0
        for n, each in enumerate(self._wanted, 1):  # noqa: B007  # how many were looked at
            if not each.taken:
                batch.append(each)
                size_bytes += len(each.ending.body) + len(each.ending.event)
            if size_bytes >= BATCH_BYTES_MAX:
                break
        del self._wanted[:n]
        return batch

    async def _marked(self, place: _Open, numbers: list[int]) -> None:
        try:
            if not place.retired:
                await self._in_thread(place.file.mark_taken, numbers)
        except OSError:
            self._retire(place)  # without marks it would be sent again whole, after any crash
            raise

    async def _kept(self, batch: list[Waiting]) -> None:
        """All of it, or the batch is wanted again and the file is written no more."""
        own = self._own
        try:
            if own is None:
                made = await self._in_thread(EndingFile.create, self.folder, self._new_name())
                own = self._own = _Open(made)
                self._open.add(own)
            numbers = range(self._numbers + 1, self._numbers + len(batch) + 1)
            self._numbers = numbers[-1]
            endings = list(zip(numbers, (each.ending for each in batch), strict=True))
            sizes = await self._in_thread(self._put, own.file, endings)
        except Exception:
            self._wanted = batch + self._wanted
            if own is not None:
                self._abandon(own)
            raise
        for waiting, number, size_bytes in zip(batch, numbers, sizes, strict=True):
            before = waiting.file
            if waiting.taken:
                self._taken.setdefault(own, []).append(number)
                continue
            if before is not None:
                before.drop(waiting)
                if not before.live:
                    self._end(before)
            own.add(waiting, number, size_bytes)
        if not own.live:
            self._end(own)
        elif own.retired:  # meanwhile
            self._wanted += [each for each in batch if each.file is own]
        else:
            self._compact(own)

    def _abandon(self, place: _Open) -> None:
        """A write has failed: what was written before stays there, if there is anything left of
        the file."""
        if place.file.is_gone:
            lost = list(place.live.values())
            for each in lost:
                place.drop(each)
            self._wanted = lost + self._wanted
        if place.live:
            place.retired = True
            self._own = None
        else:
            self._end(place)

    def _put(self, file: EndingFile, endings: list[tuple[int, Ending]]) -> list[int]:
        """In the thread."""
        room = self._options.endings_bytes_max - self.bytes_used
        reduced: list[tuple[int, Ending]] = []
        for number, ending in endings:
            kept, size_bytes = ending, len(ending.body)
            if size_bytes and size_bytes > min(room, self._options.endings_body_bytes_max):
                event = self._without_body(ending.event)
                kept = msgspec.structs.replace(ending, event=event, body=b"")
            room -= len(kept.body) + len(kept.event)
            reduced.append((number, kept))
        return file.keep(reduced)

    async def take_up(self) -> list[Waiting] | None:
        """The endings of one worker that is dead, which are on the disk already; None where there
        is no such worker. A file that cannot be read whole is told of and set aside once its
        endings are elsewhere."""
        found = await self._in_thread(self._first_left)
        if found is None:
            self.bytes_used = await self._in_thread(bytes_in, self.folder)
            return None
        file, endings = found
        place = _Open(file)
        self._open.add(place)
        waiting = [Waiting(each, adopted=True) for each in endings.values()]
        for number, each in zip(endings, waiting, strict=True):
            each.wanted = True
            place.add(each, number, len(each.ending.body) + len(each.ending.event))
        if not waiting:
            self._end(place)
        elif place.retired:
            self._wanted += waiting
        self._start()
        return waiting

    def _first_left(self) -> tuple[EndingFile, dict[int, Ending]] | None:
        """In the thread."""
        try:
            left = files_in(self.folder)
        except OSError as error:
            self._complain(self.folder, error)
            return None
        for path in left:
            try:
                found = EndingFile.take_up(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._complain(path, error)
                continue
            if found is not None:
                return found
        return None

    def _complain(self, path: Path, error: OSError) -> None:
        if path not in self._complained:
            _log.error("endings of a dead worker cannot be taken up: %s", error)
            self._complained.add(path)

    async def flush(self) -> None:
        """Returns when all that is wanted is on the disk, or the disk has refused it, or is as
        silent as the ledger."""
        self.look_again()
        await self._written()

    async def _written(self) -> None:
        if self._writer is not None:
            await asyncio.wait({self._writer}, timeout=FLUSH_S_MAX)

    async def close(self) -> None:
        """Lets go of all files: the next worker takes them up."""
        self._closed = True
        await self._written()
        self.let_go()
        self._thread.shutdown(wait=False)

    def let_go(self) -> None:
        """As the kernel does when the process ends."""
        for place in (*self._open, *self._ended):
            place.file.close()

    async def _in_thread(self, work: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _finish(file: EndingFile) -> None:
    """Nobody waits in it any more."""
    if not file.is_damaged:
        file.remove()
        return
    aside = file.set_aside()
    _log.error(
        "a file of endings was not what had been written: what could be read of it was "
        "used, and it is kept as %s",
        aside,
    )
