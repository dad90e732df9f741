"""Secrets of attempts' keys: derived, so that whoever begins an attempt again after a crash has the
same one, and nothing that could be stolen from a database was written there."""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from budgets.keys import SECRET_PREFIX
from orchestrator.places import AttemptPlace

MASTER_BYTES = 32
_PRIVATE = 0o600


class MasterInvalid(ValueError):
    """What secrets are derived from is damaged; the message says what to do."""


def secret_of(master: bytes, attempt: AttemptPlace) -> str:
    """The secret of an attempt's key: the same for all who have the same master."""
    derived = hmac.digest(master, attempt.name.encode(), hashlib.sha256)
    return SECRET_PREFIX + base64.urlsafe_b64encode(derived).rstrip(b"=").decode()


def signing_secret(master: bytes) -> bytes:
    """What requests to servers are signed with. They know it, too, and derive no key from it."""
    return hmac.digest(master, b"requests to servers", hashlib.sha256)


def kept_master(path: Path) -> bytes:
    """The master of this data dir, made once, for its owner's eyes only; executors that share a
    database are given one by a setting instead. Raises MasterInvalid, OSError."""
    with contextlib.suppress(FileExistsError):
        _make(path)
    master = path.read_bytes()
    if len(master) != MASTER_BYTES:
        raise MasterInvalid(
            f"{path} has {len(master)} bytes, not {MASTER_BYTES}: put it back from a backup, or "
            "remove it when no run is under way, and another one is made"
        )
    return master


def _make(path: Path) -> None:
    """Whole or not at all, whoever else does it at the same time. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as file:
        file.write(secrets.token_bytes(MASTER_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
