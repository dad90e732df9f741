"""Refusals of a translation, in the names that the client knows."""

from collections.abc import Mapping

from gateway.errors import InvalidRequest


class NoCounterpart(InvalidRequest):
    """The provider's format has no words for it. `what`: of the request; `whose`: the provider's
    format; `instead`: what the client can do but leave it out."""

    def __init__(self, what: str, param: str | None, whose: str, instead: str) -> None:
        super().__init__(
            f"{what} cannot be translated for this model, whose {whose}: leave it out, or "
            f"{instead}",
            param=param,
        )
        self.what = what
        self.whose = whose


def renamed(error: InvalidRequest, names: Mapping[str, str], instead: str) -> InvalidRequest:
    """What a second translation refuses, for the client of the first one. `names`: of the fields
    that the first one has written, where the client wrote them (`text.format`)."""
    theirs = names.get(error.param or "")
    param = error.param if theirs is None else theirs.partition(".")[0]
    if isinstance(error, NoCounterpart):
        return NoCounterpart(_said(error.what, error.param, theirs), param, error.whose, instead)
    message = _said(error.message, error.param, theirs)
    return type(error)(message, param=param, reason=error.reason)


def _said(message: str, ours: str | None, theirs: str | None) -> str:
    """A message that is about a field begins with it; elsewhere the word may be the client's."""
    if ours is None or theirs is None or not message.startswith(f"{ours} "):
        return message
    return theirs + message.removeprefix(ours)
