"""Which upstreams serve a model name, and at what price."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from budgets.keys import Key
from budgets.learned import route_name, route_scope
from gateway.counters import Counter
from gateway.errors import NotAllowed, NotFound
from gateway.route_prices import RoutePrices
from gateway.routing_rules import NO_RULES, RoutingRules
from gateway.translations import Translation
from gateway.upstream import HeaderBlock, Origin, Timeouts, Upstream
from pricing import Price, PriceSheet


@dataclass(frozen=True, slots=True)
class CounterPlace:
    """A counter of the provider's as a route reaches it. `headers` hold the provider's key.
    `counts_request`: the route speaks the counter's own wire format, so that it is asked about the
    request itself; otherwise about its texts."""

    counter: Counter
    origin: Origin
    target: bytes
    headers: HeaderBlock = field(repr=False)
    counts_request: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One deployment of a model, as one wire format reaches it: `endpoint` names that.

    `headers` hold the provider's key and never leave this process but to the provider. `cap_field`
    is the output cap that the provider obeys; `bills_after_cancel` and `reasons_unseen` decide what
    a broken stream is charged; `secret` is the operator's key at the provider, which nobody is
    told. `learned_as` names what is learned of its bound, "" where nothing is (`learned_name`).
    `counter` is where the provider counts input, None where it is not to be asked; `calibrated`:
    its operator wants its bound learned (`budgets.calibration`).
    `price` is what requests that name no service tier are quoted with; `sheet` has every price of
    the model, None where that is the only one; `biller` is who bills, whose word about a cost is
    believed; `default_tier` the service tier that the operator's account has there, "" for the
    standard. `translation` lies between what clients speak here and what the server does, None
    where that is the same.

    Among several of one name: those of the lowest `order` are tried first, by chance in proportion
    to `weight`; `retries` counts further attempts after one here has failed (None: as the rules
    say), `deployment` is the name by which all workers know it, whatever it is asked for.
    """

    name: str
    endpoint: str
    provider: str
    model: str
    price: Price
    upstream: Upstream = field(repr=False)
    origin: Origin
    target: bytes
    headers: HeaderBlock = field(repr=False)
    timeouts: Timeouts
    stream_timeouts: Timeouts
    cap_field: str = "max_tokens"
    reasons_unseen: bool = True
    bills_after_cancel: bool = True
    secret: bytes = field(default=b"", repr=False)
    learned_as: str = ""
    counter: CounterPlace | None = field(default=None, repr=False)
    calibrated: bool = False
    translation: Translation | None = field(default=None, repr=False)
    sheet: PriceSheet | None = field(default=None, repr=False)
    biller: str = ""
    default_tier: str = ""
    prices: RoutePrices = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        prices = RoutePrices(self.price, self.sheet, self.default_tier)
        object.__setattr__(self, "prices", prices)

    weight: int = 1
    order: int = 0
    retries: int | None = None
    deployment: str = ""

    def scope_in(self, organisation: str) -> str:
        """Where the organisation has what it has learned of this route; "" for nowhere."""
        return route_scope(organisation, self.learned_as) if self.learned_as else ""

    def without_secret(self, body: bytes) -> bytes:
        """An error body of the provider's, which may repeat the key that it was sent."""
        return body.replace(self.secret, b"[redacted]") if self.secret else body


def learned_name(
    price: Price, origin: Origin, target: bytes, cap_field: str, *, calibrated: bool = False
) -> str:
    """What is learned of a route is kept under this name: another one as soon as anything is that
    its bound follows from, so that an operator who mends the bound begins anew. Rates are not among
    them: they cancel out. "" for what costs nothing."""
    if price.is_free:
        return ""
    bound = (price.max_input_tokens, price.framing_tokens, price.tool_framing_tokens)
    place = (origin.scheme, origin.host, origin.port, target, cap_field)
    how = ("calibrated",) if calibrated else ()
    return route_name(price.provider, price.model, *place, *bound, *how)


@dataclass(frozen=True, slots=True)
class Pool:
    """All deployments of one model at one endpoint, in the order of the configuration; at least
    one. `rules` say what follows when one fails; `chooses`: whether there is more than one way."""

    name: str
    deployments: tuple[Route, ...]
    rules: RoutingRules
    chooses: bool


class Routes:
    """All routes by endpoint and name. `aliases`: other names that clients may use -> the name."""

    def __init__(
        self,
        routes: list[Route],
        rules: RoutingRules = NO_RULES,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        grouped: dict[tuple[str, str], list[Route]] = {}
        for route in routes:
            grouped.setdefault((route.endpoint, route.name), []).append(route)
        self._pools = {place: _pool(place[1], each, rules) for place, each in grouped.items()}
        self._by_name = {route.name: route for route in reversed(routes)}
        self._aliases = dict(aliases)
        self.rules = rules
        # Whether what happens to one request can change where another one goes.
        self.chooses = any(each.chooses for each in self._pools.values())

    def find(self, key: Key, model: str, endpoint: str) -> Pool:
        """The deployments of a model that this key may use. Raises NotAllowed, NotFound."""
        name = self._aliases.get(model, model) if self._aliases else model
        pool = self._pools.get((endpoint, name))
        if name == model or not allowed(key.models, name):
            _check_allowed(key, model)
        if pool is None:
            raise self._not_found(model, endpoint)
        return pool

    def others(self, key: Key, names: Iterable[str], endpoint: str) -> list[Pool]:
        """Of these models those that are served there, and that the key may use."""
        found = []
        for each in names:
            pool = self._pools.get((endpoint, self._aliases.get(each, each)))
            if pool is not None and (not key.models or allowed(key.models, pool.name)):
                found.append(pool)
        return found

    def named(self, key: Key, model: str) -> Route:
        """The first route of a model that this key may use, wherever it is served. Raises
        NotAllowed, NotFound."""
        _check_allowed(key, model)
        route = self._by_name.get(model)
        if route is None:
            raise self._not_found(model, "")
        return route

    def _not_found(self, model: str, endpoint: str) -> NotFound:
        if model in self._by_name:
            served = ", ".join(sorted(place for place, name in self._pools if name == model))
            return NotFound(
                f"{model!r} is not served at {endpoint}, but at {served}", param="model"
            )
        known = ", ".join(sorted(self._by_name)[:10])
        return NotFound(f"unknown model {model!r}; this gateway serves {known}", param="model")

    def models(self, key: Key, endpoint: str = "") -> list[Route]:
        """One route of each model that a key may use: its first, or that at an endpoint."""
        routes = list(reversed(self._by_name.values()))
        if endpoint:
            routes = [
                each.deployments[0] for (place, _), each in self._pools.items() if place == endpoint
            ]
        return [each for each in routes if not key.models or allowed(key.models, each.name)]


def _check_allowed(key: Key, model: str) -> None:
    if key.models and not allowed(key.models, model):
        raise NotAllowed(
            f"key {key.name} may not use model {model!r}; it may use {', '.join(key.models)}",
            param="model",
        )


def _pool(name: str, routes: list[Route], rules: RoutingRules) -> Pool:
    chooses = len(routes) > 1 or bool(rules.fallbacks_of(name, "failed"))
    return Pool(name, tuple(routes), rules, chooses)


def allowed(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a shell pattern of the list matches."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
