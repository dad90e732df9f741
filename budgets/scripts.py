"""The ledger's scripts, composed from their files.

Lua lives in `.lua` files. A script's first line names the chunks that it stands on
(`-- use: now meta counters`); they are prepended here, once, so that a script on the server is one
text with one SHA-1. The chunk `now` is the only clock of the ledger, and `run` says which server it
is: the two things that a test may replace, because neither is ever an argument.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

_FOLDER = resources.files("budgets") / "lua"
NAMES = (
    "adjust",
    "adopt",
    "append",
    "check",
    "compact",
    "confirm",
    "create",
    "distrust",
    "due",
    "extend",
    "fix",
    "key",
    "load",
    "open",
    "own",
    "recover",
    "release",
    "reopen",
    "reserve",
    "restore",
    "set",
    "settle",
    "state",
    "sweep",
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its name, its whole text, and the SHA-1 (hex, as bytes) that EVALSHA names."""

    name: str
    text: bytes
    sha: bytes


def load_scripts(now_chunk: str | None = None, run_chunk: str | None = None) -> dict[str, Script]:
    """All scripts by name; `now_chunk` and `run_chunk` are Lua texts that replace the clock and the
    server's run id (tests only)."""
    replaced = {"now": now_chunk, "run": run_chunk}
    return {name: _compose(name, replaced) for name in NAMES}


def _compose(name: str, replaced: dict[str, str | None]) -> Script:
    body = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    first_line = body.split("\n", 1)[0]
    chunks = first_line.removeprefix("-- use:").split()
    parts = [replaced.get(chunk) or _chunk(chunk) for chunk in chunks]
    text = "\n".join([*parts, body]).encode()
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(name, text, sha)


def _chunk(name: str) -> str:
    return (_FOLDER / "chunks" / f"{name}.lua").read_text(encoding="utf-8")
