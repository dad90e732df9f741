"""What a running stack has left in its data dir: its addresses, which hold while it runs. That of a
killed one may be another's by now, who must be sent no secret."""

from pathlib import Path

LOCKS = Path("/proc/locks")


def left_by_who_runs(file: Path, data_dir: Path) -> str:
    """The text in a file of the data dir while somebody has the data dir, else empty. Raises
    OSError, UnicodeDecodeError."""
    if not _is_held(data_dir / "lock"):
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _is_held(lock: Path) -> bool:
    """Whether a process has the lock. Looked up, not tried: that would keep away who just starts.
    Where the kernel does not tell, it counts as held."""
    try:
        inode, table = lock.stat().st_ino, LOCKS.read_text(encoding="ascii")
    except OSError:
        return lock.exists()
    return any(line.split()[5].rpartition(":")[2] == str(inode) for line in table.splitlines())
