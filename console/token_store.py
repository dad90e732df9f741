"""Admin tokens, kept in the ledger's Redis so that all consoles share them: by name, with the
SHA-256 of the secret, never the secret.

One hash holds them all. They are few, so finding one reads all of them, at every request: a token
that was deleted is dead at the next call everywhere, and no comparison ends early.
"""

import hashlib
import hmac
import secrets
from typing import Literal

import msgspec

from budgets.session import Session

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")  # each may do what those before it may
TOKENS_KEY = "comptroller:tokens"
FIRST = "first"
SECRET_PREFIX = "ca-"  # noqa: S105  # what marks a secret of ours, not one
SECRET_BYTES = 32
SECRET_CHARS_MIN = 16
SECRET_CHARS_MAX = 512


class TokenWeak(ValueError):
    """What was given as the first admin token is none that could not be guessed or sent."""


class TokenExists(Exception):
    """The name is taken."""


class TooManyTokens(Exception):
    """There are as many as may be."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who may do what. `organisation` is empty for all of them; `by` made it."""

    name: str
    role: Role
    secret_sha256: str
    created_at_ms: int
    organisation: str = ""
    expires_at_ms: int | None = None
    by: str = ""

    def may(self, role: Role) -> bool:
        """Whether its role includes this one."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, organisation: str) -> bool:
        """Whether it may look at this organisation and act on it."""
        return self.organisation in ("", organisation)

    def has_expired(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


def new_secret() -> str:
    """A fresh secret of 256 bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: bytes) -> str:
    """SHA-256 of the whole secret, hex."""
    return hashlib.sha256(secret).hexdigest()


class TokenStore:
    """The tokens of one ledger. All raise LedgerUnavailable."""

    def __init__(
        self, session: Session, tokens_max: int, organisation_tokens_max: int | None = None
    ) -> None:
        self._transport = session.transport
        self._clock = session.clock
        self._tokens_max = tokens_max
        self._organisation_tokens_max = organisation_tokens_max or tokens_max

    async def all(self) -> list[Token]:
        """By name."""
        reply = await self._transport.command("HVALS", TOKENS_KEY)
        assert isinstance(reply, list)
        tokens = [msgspec.json.decode(record, type=Token) for record in reply]
        return sorted(tokens, key=lambda each: each.name)

    async def find(self, secret: bytes) -> Token | None:
        """The token of this secret, also one that has expired."""
        given, found = digest(secret), None
        for token in await self.all():
            if hmac.compare_digest(given, token.secret_sha256):
                found = token
        return found

    async def add(self, token: Token) -> None:
        """Durably. Raises TokenExists, TooManyTokens."""
        tokens = await self.all()
        if self._too_many([*tokens, token], token.organisation):
            for each in tokens:
                if each.has_expired(self._clock.now_ms()):
                    await self.remove(each.name)
        record = msgspec.json.encode(token)
        added = await self._transport.command_durably("HSETNX", TOKENS_KEY, token.name, record)
        # A lost answer is asked for again: then it is ours that is there.
        if not added and await self._transport.command("HGET", TOKENS_KEY, token.name) != record:
            raise TokenExists(f"there is a token {token.name} already: give it another name")
        most = self._too_many(await self.all(), token.organisation)
        if most:
            await self.remove(token.name)
            raise TooManyTokens(f"there are {most}, which is the most: delete one first")

    async def remove(self, name: str) -> None:
        """Durably: it is dead at the next call."""
        await self._transport.command_durably("HDEL", TOKENS_KEY, name)

    async def named(self, name: str) -> Token | None:
        """By its name."""
        record = await self._transport.command("HGET", TOKENS_KEY, name)
        return msgspec.json.decode(record, type=Token) if isinstance(record, bytes) else None

    def _too_many(self, tokens: list[Token], organisation: str) -> str:
        """Which bound these are beyond, empty for none. One organisation's admin must not leave
        others without a place."""
        if len(tokens) > self._tokens_max:
            return f"{self._tokens_max} tokens"
        own = sum(each.organisation == organisation for each in tokens)
        if organisation and own > self._organisation_tokens_max:
            return f"{self._organisation_tokens_max} tokens of {organisation}"
        return ""


async def ensure_first_token(session: Session, secret: str) -> None:
    """Makes this the secret of the admin token `first`, and no earlier one. Raises TokenWeak,
    LedgerUnavailable."""
    if not (SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX and _is_header_text(secret)):
        raise TokenWeak(
            f"COMPTROLLER_ADMIN_TOKEN must have {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} ASCII "
            "characters without spaces"
        )
    store = TokenStore(session, tokens_max=0)
    sha256 = digest(secret.encode())
    there = await store.named(FIRST)
    if there is not None and hmac.compare_digest(there.secret_sha256, sha256):
        return
    token = Token(FIRST, "admin", sha256, session.clock.now_ms())
    record = msgspec.json.encode(token)
    await session.transport.command_durably("HSET", TOKENS_KEY, FIRST, record)


def _is_header_text(text: str) -> bool:
    return all("!" <= each <= "~" for each in text)
