"""CPU and memory of processes, from /proc: the kernel's own bill, which no profiler distorts.

`schedstat` counts nanoseconds for each thread (the ticks of `stat` are 10 ms); what ended children
had used (valkey's rewrites of its file) only `stat` knows. See proc(5).
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/<pid>/stat, counted after the name in brackets.
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME, _RSS_PAGES = 1, 11, 12, 13, 14, 21
LEDGER_PROGRAM = "valkey-server"


@dataclass(frozen=True, slots=True)
class Group:
    """A tree of processes that is billed together: everything below `root`, but nothing below
    `without` (0: nothing is left out)."""

    root: int
    without: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU so far, and the resident memory of the group's largest process."""

    cpu_ns: int
    rss_bytes: int


def read_group(group: Group) -> Reading:
    """What the group has used until now."""
    cpu_ns, rss_bytes = 0, 0
    for pid in tree(group.root, group.without):
        fields = _stat(pid)
        if fields:
            waited = (int(fields[_CUTIME]) + int(fields[_CSTIME])) * _NS_PER_TICK
            cpu_ns += waited + _own_cpu_ns(pid, fields)
            rss_bytes = max(rss_bytes, int(fields[_RSS_PAGES]) * _PAGE_BYTES)
    return Reading(cpu_ns, rss_bytes)


def tree(root: int, without: int = 0) -> list[int]:
    """The process and all below it, leaving out the subtree of `without`."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    found, at = [root], 0
    while at < len(found):
        found += [pid for pid in children.get(found[at], []) if pid != without]
        at += 1
    return found


def ledger_below(root: int) -> int:
    """The pid of the embedded ledger in this process tree, 0 where there is none."""
    for pid in tree(root):
        try:
            name = (_PROC / str(pid) / "comm").read_text().strip()
        except OSError:
            continue
        if LEDGER_PROGRAM.startswith(name) and name:
            return pid
    return 0


def _own_cpu_ns(pid: int, fields: list[str]) -> int:
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except OSError:  # a kernel without schedstat, or a thread that has just ended: coarser then
        return (int(fields[_UTIME]) + int(fields[_STIME])) * _NS_PER_TICK


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []  # it has ended in the meantime
    return text.rpartition(")")[2].split()
