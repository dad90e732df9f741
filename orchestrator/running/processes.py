"""One process of a program and its group: what it prints, and its end.

It is a child by vfork and exec, awaited by its pidfd: no thread, and no signal handler that others
may have. Linux.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL of a program that is cancelled."""
DRAIN_S = 1.0
"""For what is left in its pipes when all of its group is gone: another process, which has left the
group, may hold them for ever."""
_READ_BYTES = 65_536


class Pipe:
    """One end of a pipe, read whenever there is something; `ended` when there is no more."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self.ended = asyncio.Event()
        self._loop.add_reader(self._reading, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._reading, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._take(data)
        else:
            self.close()

    def close(self) -> None:
        """Twice is once."""
        if not self.ended.is_set():
            self.ended.set()
            self._loop.remove_reader(self._reading)
            os.close(self._reading)


class Process:
    """A program that runs, the first of its own session and group. `stdout`, `stderr`: take what it
    prints. Raises OSError and ValueError where it cannot be started."""

    def __init__(
        self,
        argv: tuple[str, ...],
        folder: Path,
        environment: Mapping[str, str],
        stdout: Callable[[bytes], None],
        stderr: Callable[[bytes], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._pipes: list[Pipe] = []
        try:
            for take in (stdout, stderr):
                self._pipes.append(Pipe(take))  # one by one: for the second there may be no more
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=self._pipes[0].writing,
                stderr=self._pipes[1].writing,
                start_new_session=True,
            )
            self._handle = self._watched()
        except BaseException:
            self._close()
            raise
        finally:
            for each in self._pipes:
                os.close(each.writing)
        self._loop.add_reader(self._handle, self._on_end)

    def _watched(self) -> int:
        try:
            return os.pidfd_open(self._process.pid)
        except OSError:  # no file descriptor left: nobody would know when it ends
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            raise

    def _on_end(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        # What it leaves behind in its group ends with it. It is no longer running, and not yet
        # reaped, so that the number of the group cannot be another's.
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._ended.set()

    async def end(self) -> int:
        """Waits until it has ended and all that it printed is read: its exit code, negative for a
        signal. Cancelled, it ends the whole group before it raises."""
        try:
            await self._ended.wait()
            await self._drained()
        except asyncio.CancelledError:
            await self._ended_by_force()
            raise
        finally:
            self._close()
        return self._process.returncode

    async def _drained(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                for each in self._pipes:
                    await each.ended.wait()
        except TimeoutError:
            return

    async def _ended_by_force(self) -> None:
        """Also where it is cancelled again: then at once. Whoever does not die of SIGKILL within
        DRAIN_S waits for a disk, and is reaped when that has answered."""
        for number, within_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, DRAIN_S)):
            self._signal_group(number)
            try:
                async with asyncio.timeout(within_s):
                    await self._ended.wait()
            except (TimeoutError, asyncio.CancelledError):
                continue
            return

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process.returncode is not None:
            return  # reaped: its number may be another's
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _close(self) -> None:
        for each in self._pipes:
            each.close()
