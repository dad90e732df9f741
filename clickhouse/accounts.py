"""Who may ask the embedded records: one secret on the disk, every password derived from it.

Nothing else is stored, so there is nothing to keep in step: an organisation has its user as soon
as someone asks for it, and whoever can read the secret file can compute every password.
"""

import hmac
import os
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

READER = "reader"  # all organisations
RECORDER = "recorder"  # may write; only where it is switched on
MEMORY = "_memory"  # the ledger's own questions, and no other; no organisation has such a name
USER_CHARACTERS_MAX = 128
PASSWORD_CHARACTERS_MAX = 256
_SECRET = re.compile(r"[0-9a-f]{64}")


class SecretUnusable(RuntimeError):
    """The secret file is there, but is not one of ours or not private."""


@dataclass(frozen=True, slots=True)
class RecordsSecret:
    """32 random bytes as hex, in a file that only its owner reads."""

    value: str

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Made once, whole or not at all, even by two processes at the same time. Raises
        SecretUnusable."""
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise SecretUnusable(f"{path} is readable by others: run chmod 600 on it")
        value = path.read_text(encoding="ascii", errors="replace").strip()
        if not _SECRET.fullmatch(value):
            raise SecretUnusable(
                f"{path} does not hold 64 hex digits: restore it, or remove it for a new one, "
                "which changes the password of every user of the records"
            )
        return cls(value)

    def password_of(self, user: str) -> str:
        """HMAC-SHA256 of `records:<user>`, hex."""
        key = bytes.fromhex(self.value)
        return hmac.digest(key, f"records:{user}".encode(), "sha256").hex()

    def password_of_organisation(self, organisation: str) -> str:
        """The same for an organisation's user. Raises ValueError for one that is called as a role
        is: that password opens more than its rows."""
        if organisation in (READER, RECORDER):
            raise ValueError(f"an organisation called {organisation!r} has no user of its own")
        return self.password_of(organisation)

    def __repr__(self) -> str:
        return "RecordsSecret(...)"


@dataclass(frozen=True, slots=True)
class Account:
    """`organisation` None: rows of all. `password_sha256` is of the password's UTF-8. Who
    `may_recall` asks the queries of RECALLED, of every table, and nothing else."""

    user: str
    password_sha256: bytes
    organisation: str | None
    may_write: bool = False
    may_recall: bool = False


class Accounts:
    """`reader`, one user for each organisation (its name), `_memory`, and `recorder` where it is
    enabled."""

    def __init__(self, secret: RecordsSecret, *, recorder_enabled: bool = False) -> None:
        self._secret = secret
        self._recorder_enabled = recorder_enabled

    def check(self, user: str, password: str) -> Account | None:
        """The account, if the password is right. Takes as long for a wrong one as for a right
        one. An organisation of any name has an account: one that never wrote sees no rows."""
        if len(user) > USER_CHARACTERS_MAX or len(password) > PASSWORD_CHARACTERS_MAX:
            return None
        account = self._account(user)
        given = sha256(password.encode("utf-8", "surrogatepass")).digest()
        if not hmac.compare_digest(given, account.password_sha256):
            return None
        if not user or (account.may_write and not self._recorder_enabled):
            return None
        return account

    def _account(self, user: str) -> Account:
        password = self._secret.password_of(user.encode("utf-8", "replace").decode())
        digest = sha256(password.encode()).digest()
        if user == READER:
            return Account(user, digest, None)
        if user == RECORDER:
            return Account(user, digest, None, may_write=True)
        if user == MEMORY:
            return Account(user, digest, None, may_recall=True)
        return Account(user, digest, user)


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(written, path)
        except FileExistsError:
            return  # another process was first: its secret holds
    finally:
        written.unlink()
