"""Named admin tokens: made, listed, deleted by admins. A token that is bound to an organisation
makes and sees only tokens of that organisation."""

import logging
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field

from console.auth import Admin, chosen_organisation
from console.errors import Conflict, InvalidRequest, NotFound
from console.parts import Parts
from console.token_store import FIRST, Role, Token, TokenExists, TooManyTokens, digest, new_secret
from console.wire import SCOPE_CHARS_MAX, Shown, Wanted, lifetime_ms

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$"
# Who else stands in `by` of an event; `first` is the token of COMPTROLLER_ADMIN_TOKEN.
RESERVED = frozenset({FIRST, "gateway", "recorder", "orchestrator", "console"})
_log = logging.getLogger("comptroller.console")


class TokenWanted(Wanted):
    """A token to be made."""

    name: Annotated[str, Field(pattern=NAME)]
    role: Role
    organisation: Annotated[str, Field(max_length=SCOPE_CHARS_MAX)] = ""
    expires_in: str | None = None


class TokenShown(Shown):
    """A token, without its secret. `organisation` is null for all of them."""

    name: str
    role: Role
    organisation: str | None
    created_at_ms: int
    expires_at_ms: int | None
    by: str


class TokenMade(TokenShown):
    """With the secret, this once."""

    token: str


class Tokens(Shown):
    """All that the caller may see, by name."""

    tokens: list[TokenShown]


def add_routes(app: FastAPI, parts: Parts) -> None:
    """POST, GET /v1/tokens, DELETE /v1/tokens/{name}."""

    @app.post("/v1/tokens", tags=["tokens"], status_code=201)
    async def make_token(wanted: TokenWanted, caller: Admin) -> TokenMade:
        """Makes a token. Its secret is in this answer only."""
        if wanted.name in RESERVED:
            raise InvalidRequest(
                f"{wanted.name} means somebody else in the log: take another name", param="name"
            )
        organisation = chosen_organisation(caller, wanted.organisation)
        now_ms = parts.session.clock.now_ms()
        lasts_ms = lifetime_ms(wanted.expires_in)
        secret = new_secret()
        token = Token(
            name=wanted.name,
            role=wanted.role,
            secret_sha256=digest(secret.encode()),
            created_at_ms=now_ms,
            organisation=organisation,
            expires_at_ms=None if lasts_ms is None else now_ms + lasts_ms,
            by=caller.name,
        )
        try:
            await parts.tokens.add(token)
        except (TokenExists, TooManyTokens) as error:
            raise Conflict(str(error), param="name") from None
        _log.info("token %s (%s) was made by %s", token.name, token.role, caller.name)
        return TokenMade(**_shown(token).model_dump(), token=secret)

    @app.get("/v1/tokens", tags=["tokens"])
    async def list_tokens(caller: Admin) -> Tokens:
        """All tokens, without secrets."""
        tokens = await parts.tokens.all()
        return Tokens(tokens=[_shown(each) for each in tokens if _may_touch(caller, each)])

    @app.delete("/v1/tokens/{name}", tags=["tokens"])
    async def delete_token(name: str, caller: Admin) -> TokenShown:
        """Deletes a token: it is dead at the next call."""
        token = await parts.tokens.named(name)
        if token is None or not _may_touch(caller, token):
            raise NotFound("there is no token of this name", param="name")
        await parts.tokens.remove(token.name)
        _log.info("token %s was deleted by %s", token.name, caller.name)
        return _shown(token)


def _may_touch(caller: Token, token: Token) -> bool:
    """A bound admin has nothing to do with tokens that reach further."""
    return caller.organisation in ("", token.organisation)


def _shown(token: Token) -> TokenShown:
    return TokenShown(
        name=token.name,
        role=token.role,
        organisation=token.organisation or None,
        created_at_ms=token.created_at_ms,
        expires_at_ms=token.expires_at_ms,
        by=token.by,
    )
