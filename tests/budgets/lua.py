"""Scripts that tests run beside the ledger's own."""

import hashlib

from budgets.scripts import Script


def script(name: str, text: str) -> Script:
    """A script from its text."""
    encoded = text.encode()
    sha = hashlib.sha1(encoded, usedforsecurity=False).hexdigest().encode()
    return Script(name, encoded, sha)
