"""What makes a request ours: an HMAC-SHA256 over its time and its body. Pure.

`x-comptroller-timestamp`: seconds since 1970. `x-comptroller-signature`: in hexadecimal, of the
timestamp as it stands there, a full stop, and the body byte by byte. docs/workflows.md has what a
server checks it with.
"""

import hashlib
import hmac

SIGNATURE_HEADER = "x-comptroller-signature"
TIMESTAMP_HEADER = "x-comptroller-timestamp"


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """In hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
