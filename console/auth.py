"""Who may do what: roles, as a parameter of each call, and the organisation that a token is for.

A call without one of these parameters is not built (`console.app`), so that none can forget it.
"""

from typing import Annotated

from fastapi import Depends, Request

from budgets.policy import PolicyInvalid, parse_scope
from console.errors import InvalidRequest, NotAllowed, OtherOrganisation
from console.token_store import Role, Token

CALLER = "comptroller.caller"  # where the door puts the token of a request


def viewer(request: Request) -> Token:
    """May read."""
    return _holder(request, "viewer")


def operator(request: Request) -> Token:
    """May read, and change keys and budgets."""
    return _holder(request, "operator")


def admin(request: Request) -> Token:
    """May do all, tokens too."""
    return _holder(request, "admin")


Viewer = Annotated[Token, Depends(viewer)]
Operator = Annotated[Token, Depends(operator)]
Admin = Annotated[Token, Depends(admin)]
ROLE_OF = {viewer: "viewer", operator: "operator", admin: "admin"}


def _holder(request: Request, role: Role) -> Token:
    token: Token = request.scope[CALLER]
    if not token.may(role):
        raise NotAllowed(
            f"token {token.name} is a {token.role}; this call needs the role {role}: ask an admin "
            "for such a token (POST /v1/tokens)"
        )
    return token


def checked_scope(caller: Token, scope: str) -> str:
    """A scope that is one and that the caller may act on; its organisation. Raises InvalidRequest,
    OtherOrganisation."""
    try:
        organisation = parse_scope(scope)[0]
    except PolicyInvalid as error:
        raise InvalidRequest(str(error), param="scope") from None
    _check_sees(caller, organisation, "scope")
    return organisation


def chosen_organisation(caller: Token, organisation: str, scope: str = "") -> str:
    """The one that a question is about: named itself, by a scope, or the caller's own; "" for all
    of them. Raises InvalidRequest, OtherOrganisation."""
    named = checked_scope(caller, scope) if scope else ""
    if organisation:
        try:
            segments = parse_scope(organisation)
        except PolicyInvalid:
            segments = ()
        if len(segments) != 1:
            raise InvalidRequest(
                "organisation is the first segment of a scope", param="organisation"
            )
        _check_sees(caller, organisation, "organisation")
        if named and named != organisation:
            raise InvalidRequest("scope is of another organisation", param="organisation")
    return organisation or named or caller.organisation


def _check_sees(caller: Token, organisation: str, param: str) -> None:
    if not caller.sees(organisation):
        raise OtherOrganisation(
            f"token {caller.name} is for the organisation {caller.organisation} only", param=param
        )
