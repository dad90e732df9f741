"""What makes a request ours: an HMAC-SHA256 over its time and its body. Pure.

`x-comptroller-timestamp`: seconds since 1970. `x-comptroller-signature`: in hexadecimal, of the
timestamp as it stands there, a full stop, and the body byte by byte.
"""

import hashlib
import hmac

SIGNATURE_HEADER = "x-comptroller-signature"
TIMESTAMP_HEADER = "x-comptroller-timestamp"
OLD_S_MAX = 300
"""Of a request that is still believed: a copy of it that somebody sends again is soon too old."""


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """In hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_ours(secret: bytes, timestamp: str, body: bytes, signed: str, now_s: float) -> bool:
    """Whether whoever has signed it knows the secret, and has done so a short while ago."""
    if not (timestamp.isascii() and timestamp.isdecimal()) or len(timestamp) > 15:
        return False
    if abs(now_s - int(timestamp)) > OLD_S_MAX:
        return False
    # As bytes: of texts it compares ASCII only, and raises for any other.
    return hmac.compare_digest(signature(secret, timestamp, body).encode(), signed.encode())
