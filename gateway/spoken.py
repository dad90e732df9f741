"""A call as one route's provider gets it: in the client's wire format, or in another one."""

from typing import NamedTuple

from gateway.dialects import DIALECTS, Dialect
from gateway.dialects.contract import Call
from gateway.routes import Route
from gateway.translations import TranslatedDialect


class Spoken(NamedTuple):
    """`dialect` writes the request and reads the answer, `call` is what is priced and sent."""

    dialect: Dialect
    call: Call


def spoken(surface: Dialect, call: Call, route: Route) -> Spoken:
    """Raises InvalidRequest and NotPriced for what the provider's format has no words for."""
    if route.translation is None:
        return Spoken(surface, call)
    dialect = TranslatedDialect(surface, DIALECTS[route.translation.target], route.translation)
    return Spoken(dialect, dialect.translated(call))
