"""Signed ends of the chain, outside the database: whoever rewrites the log must also have the key.

A chain alone proves nothing against its keeper, who can compute it anew after any change. A head
that was signed while the log was written cannot be made again without the private key. For each day
that retention drops it is what the rest of the log stands on.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from budgets.policy import parse_scope
from recorder.batch import Head
from recorder.durable import append, make_folder, rename, sync_folder, truncate, write_new

DAY_MS = 86_400_000


class SigningKeyUnusable(RuntimeError):
    """The private key is not one, or others can read it; the message says what to do."""


class HeadRefused(RuntimeError):
    """A head at or below one that was signed before: the records have gone back."""


class HeadsDamaged(RuntimeError):
    """A file of heads holds something that was never appended to it; names file and line."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head and who vouches for it: `key` is the Ed25519 public key and `signature` the signature
    of `signed_text`, both hex (RFC 8032: 32 and 64 bytes)."""

    organisation: str
    head: Head
    key: str
    signature: str

    def is_signed_by(self, public_key_hex: str) -> bool:
        """Whether this key, and no other, has signed exactly this."""
        if self.key != public_key_hex:
            return False
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            key.verify(bytes.fromhex(self.signature), signed_text(self.organisation, self.head))
        except (InvalidSignature, ValueError):
            return False
        return True


_decode = msgspec.json.Decoder(SignedHead).decode
_encode = msgspec.json.Encoder().encode


def signed_text(organisation: str, head: Head) -> bytes:
    """What is signed: six lines, the first of which names the format."""
    return (
        f"comptroller-head-1\n{organisation}\n{head.epoch}\n{head.seq}\n{head.hash}\n{head.time_ms}\n"
    ).encode()


class SigningKey:
    """The recorder's Ed25519 key. The private half never leaves its file."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_hex = private.public_key().public_bytes_raw().hex()

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """The key in this file (PEM, PKCS 8, mode 0600), made if there is none: whole or not at
        all, and by one of several who try at once. Raises SigningKeyUnusable."""
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise SigningKeyUnusable(f"others can read {path}: run `chmod 600` on it")
        try:
            private = load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise SigningKeyUnusable(
                f"{path} holds no private key ({error}): restore it from a backup; a new key "
                "cannot vouch for what the old one signed"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SigningKeyUnusable(f"{path} holds a key that is not Ed25519: restore the old one")
        return cls(private)

    def sign(self, organisation: str, head: Head) -> SignedHead:
        """The head with our signature: always the same one for the same head."""
        signature = self._private.sign(signed_text(organisation, head)).hex()
        return SignedHead(organisation, head, self.public_hex, signature)


def _create(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write_new(new, [pem])
        with contextlib.suppress(FileExistsError):  # another was first: its key is the key
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def heads_path(folder: Path, organisation: str) -> Path:
    """Where an organisation's heads are. Its name serves as it is: the first segment of a scope
    cannot be hidden, hold a slash or be too long. Raises PolicyInvalid for what is no such name."""
    if len(parse_scope(organisation)) != 1:
        raise ValueError(f"{organisation!r} is a scope, not an organisation")
    return folder / f"{organisation}.jsonl"


def read_heads(folder: Path, organisation: str) -> tuple[SignedHead, ...]:
    """All of an organisation's heads, oldest first; signatures are not looked at. Needs no key, and
    may run beside the recorder. Raises HeadsDamaged."""
    try:
        content = heads_path(folder, organisation).read_bytes()
    except FileNotFoundError:
        return ()
    return tuple(_parsed(heads_path(folder, organisation), _whole_lines(content)))


class HeadsFile:
    """One organisation's heads, appended by its recorder. Methods block and may be called from any
    thread. Raises HeadsDamaged when it is opened."""

    def __init__(self, folder: Path, organisation: str, key: SigningKey) -> None:
        self._path = heads_path(folder, organisation)
        self._organisation = organisation
        self._key = key
        self._lock = threading.Lock()
        make_folder(folder)
        if self._path.exists():
            self._drop_torn_line()
        else:
            write_new(self._path, [])
            sync_folder(folder)
        heads = self.heads()
        self.last = heads[-1].head if heads else None

    def heads(self) -> tuple[SignedHead, ...]:
        """All of them, oldest first. Raises HeadsDamaged."""
        return tuple(_parsed(self._path, self._path.read_bytes().splitlines(keepends=True)))

    def append(self, head: Head) -> None:
        """Signs the head and adds it, durable when this returns. One that is there already changes
        nothing. Raises HeadRefused: a head at or below the last is never signed again."""
        with self._lock:
            if self.last is not None and (head.epoch, head.seq) <= (self.last.epoch, self.last.seq):
                self._must_be_there(head)
                return
            append(self._path, _line(self._key.sign(self._organisation, head)))
            self.last = head

    def _must_be_there(self, head: Head) -> None:
        if all(each.head != head for each in self.heads()):
            assert self.last is not None
            raise HeadRefused(
                f"{self._organisation}: event {head.epoch}-{head.seq} cannot be the end of the "
                f"log, {self.last.epoch}-{self.last.seq} was signed before it: the records have "
                f"lost events, or {self._path} is from another log; run `comptroller verify`"
            )

    def thin(self, keep_all_since_ms: int) -> None:
        """Of days (UTC) before that moment only the last head is kept, which is what the next day
        stands on. A crash leaves the old file or the new one."""
        with self._lock:
            heads = self.heads()
            last_of_day = {each.head.time_ms // DAY_MS: each for each in heads}
            kept = [
                each
                for each in heads
                if each.head.time_ms >= keep_all_since_ms
                or each is last_of_day[each.head.time_ms // DAY_MS]
            ]
            if len(kept) < len(heads):
                self._rewrite(kept)

    def _rewrite(self, heads: list[SignedHead]) -> None:
        # A dot first: no organisation's name begins with one.
        new = self._path.with_name(f".{self._path.name}")
        new.unlink(missing_ok=True)
        write_new(new, map(_line, heads))
        rename(new, self._path)

    def _drop_torn_line(self) -> None:
        """What a crash left of an append that never returned."""
        content = self._path.read_bytes()
        whole = sum(map(len, _whole_lines(content)))
        if whole < len(content):
            truncate(self._path, whole)


def _line(head: SignedHead) -> bytes:
    return _encode(head) + b"\n"


def _whole_lines(content: bytes) -> list[bytes]:
    """Without a last line that is torn: it has no end, or cannot be read (a file that grew before a
    power cut can hold zeros)."""
    lines = content.splitlines(keepends=True)
    if lines and not (lines[-1].endswith(b"\n") and _is_head(lines[-1])):
        del lines[-1]
    return lines


def _is_head(line: bytes) -> bool:
    try:
        _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _parsed(path: Path, lines: list[bytes]) -> Iterator[SignedHead]:
    for number, line in enumerate(lines, 1):
        try:
            yield _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HeadsDamaged(
                f"line {number} of {path} is not a signed head ({error}): restore the file from a "
                "backup, or move it away, and the log up to here is not vouched for any more"
            ) from error
