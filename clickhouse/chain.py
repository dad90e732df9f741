"""The hash chain over an organisation's events: nothing changed, nothing missing, nothing moved.

hash(n) = SHA-256(hash(n - 1) as 64 hex digits, a line feed, the canonical text of event n). The
first event stands on GENESIS. The chain runs on through epochs; rows that were derived are outside.
"""

from hashlib import sha256

GENESIS = "0" * 64


def link(prev_hash: str, canonical: bytes) -> str:
    """The hash of the event with this canonical text, after the one with `prev_hash`."""
    return sha256(prev_hash.encode() + b"\n" + canonical).hexdigest()
