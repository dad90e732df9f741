"""The key of whoever has declared none: made once, with a small budget, and kept.

Only its making is ours. What was changed of it since (another budget, another secret) stays, unlike
what a file declares; and of two machines without keys on one ledger, the first one makes it.
"""

from dataclasses import dataclass, field
from pathlib import Path

from budgets.administration import Administration
from budgets.keys import KeyRing, digest, new_secret
from budgets.policy import parse_policy
from budgets.session import Session
from comptroller.data_dir import first_key_file, kept_secret
from comptroller.declare import DECLARED_BY
from comptroller.settings import DeclaredKey
from gateway.events import KeyEvents

DEMO_SCOPE = "demo"
DEMO_KEY = "first"
DEMO_KEY_ID = f"key-{DEMO_KEY}"
DEMO_BUDGET = "1.00"


@dataclass(frozen=True, slots=True)
class FirstKey:
    """Its secret, empty where the key has another one than is known here, and what is to be
    declared to make it, if it is not there."""

    secret: str = field(repr=False)
    declared: tuple[DeclaredKey, ...] = ()


async def first_key(session: Session, data_dir: Path) -> FirstKey:
    """The key as it is at the ledger. Raises DataDirRefused, LedgerUnavailable."""
    ring = KeyRing(session, Administration(session), KeyEvents(DECLARED_BY))
    there = await ring.named(DEMO_SCOPE, DEMO_KEY_ID)
    file = first_key_file(data_dir)
    if there is not None and not file.exists():
        return FirstKey("")
    secret = kept_secret(file, new_secret())
    if there is not None and there.secret_sha256 != digest(secret):
        return FirstKey("")
    if await ring.find(secret.encode()):
        return FirstKey(secret)
    budget = parse_policy([{"usd": DEMO_BUDGET}])
    return FirstKey(secret, (DeclaredKey(DEMO_KEY, DEMO_SCOPE, secret, budget),))
