"""The ledger's contract in plain Python: the oracle of the model test.

It is written from the contract's text alone, with exact integers, a datetime calendar and no care
for speed, so that it can be read beside the text. It knows one organisation, one clock, and shares
with the code under test only its vocabulary (policies, asks, paths).
"""

import fnmatch
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from budgets.answers import Ask, Truth
from budgets.plan import ScopePath
from budgets.policy import Dimension, Limit, Policy, Window

Identity = tuple[Dimension, Window, tuple[str, ...]]


@dataclass(slots=True)
class ScopeModel:
    """A node of the tree."""

    state: str = "open"
    fence: int = 0
    policy: Policy = field(default_factory=Policy)


@dataclass(slots=True)
class CounterModel:
    """What is spent and set aside in one window of one limit."""

    spent: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """A limit that one request is checked against, with the counter of its current window."""

    scope: str
    limit: Limit
    share_percent: int
    counter: str
    resets_at_ms: int


@dataclass(slots=True)
class LeaseModel:
    """An open reservation: the counters that it touched with what it holds there."""

    path: ScopePath
    model: str
    ask: Ask
    output: int
    held: dict[str, tuple[Dimension, int]]
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of reserve: `output` of a grant or TOO_LARGE's affordable output."""

    code: str
    scope: str = ""
    output: int = 0
    until_ms: int = 0


class ContractModel:
    """One organisation's ledger."""

    def __init__(self, at_ms: int, lease_ms: int) -> None:
        self.clock_ms = at_ms
        self.stored_ms = at_ms
        self.opened_ms = at_ms
        self.lease_ms = lease_ms
        self.seq = 0
        self.scopes: dict[str, ScopeModel] = {}
        self.counters: dict[str, CounterModel] = {}
        self.leases: dict[str, LeaseModel] = {}
        self.resolved: set[str] = set()
        self.expired: dict[str, dict[str, tuple[Dimension, int]]] = {}

    @property
    def time_ms(self) -> int:
        """The ledger's time: never below the last that was stored."""
        return max(self.clock_ms, self.stored_ms)

    def scope(self, path: str) -> ScopeModel:
        """A scope, created open on first use."""
        return self.scopes.setdefault(path, ScopeModel())

    def counter(self, name: str) -> CounterModel:
        """A counter; an untouched one is zero."""
        return self.counters.setdefault(name, CounterModel())

    def spent(self, name: str) -> int:
        """What a counter has spent."""
        return self.counter(name).spent

    def allotted(self, _name: str) -> int:
        """What is moved away from a counter's limit: nothing in a ledger without allotments."""
        return 0

    def free(self, binding: Binding) -> int:
        """What a limit has left."""
        name = binding.counter
        taken = self.spent(name) + self.counter(name).reserved + self.allotted(name)
        return binding.limit.amount - taken

    def state_of(self, path: str) -> str:
        """The state of a scope."""
        return self.scope(path).state

    def ended(self) -> None:
        """Something has ended: what waited for it goes on."""

    def event(self) -> None:
        """One more event; it stores the time."""
        self.seq += 1
        self.store_time()

    def store_time(self) -> None:
        """The ledger wrote its head: time does not go back behind it."""
        self.stored_ms = self.time_ms

    def bindings(self, path: ScopePath, model: str | None) -> list[Binding]:
        """The limits on a path that count this model."""
        found: list[Binding] = []
        for node in path.nodes():
            own = self.scope(node).policy
            parent = self.scopes.get(node.rpartition("/")[0])
            owner, limits, child = own, own.limits, ""
            if not own.limits and parent is not None and node != path.key_scope:
                owner, limits, child = parent.policy, parent.policy.per_child, f":{node}"
            for limit in limits:
                if model is None or covers(limit, model):
                    start_s, end_s = window_at(limit.window, self.time_ms)
                    counter = f"c:{limit.id}{child}:{start_s}"
                    percent = owner.share_of_free_percent
                    found.append(Binding(node, limit, percent, counter, end_s * 1000))
        return found

    def state_refusal(self, path: ScopePath, *, is_open: bool = False) -> Answer | None:
        """The first refusal by state, top down; what `is_open` below a closing scope is awaited."""
        attempts = dict(path.attempts)
        for node in path.nodes():
            state = self.state_of(node)
            if state != "open" and not (is_open and state == "closing"):
                return Answer(state.upper(), node)
            if attempts.get(node, 0) < self.scope(node).fence:
                return Answer("FENCED", node)
        return None

    def reserve(self, id_: str, path: ScopePath, model: str, ask: Ask) -> Answer:
        """Decides and, if everything fits, grants."""
        for node in path.nodes():
            self.scope(node)
        if id_ in self.leases:
            lease = self.leases[id_]
            same = (lease.path.scope, lease.ask) == (path.scope, ask)
            return Answer("GRANTED", output=lease.output) if same else Answer("CONFLICT")
        if id_ in self.resolved or id_ in self.expired:
            return Answer("ALREADY")
        refusal = self.state_refusal(path)
        bindings = self.bindings(path, model)
        refusal = refusal or self._limit_refusal(bindings, ask)
        if refusal:
            return refusal
        output = self._granted_output(bindings, ask)
        if ask.tells_lowered and output < ask.output_wanted:
            return Answer("LOWERED", output=output)
        held: dict[str, tuple[Dimension, int]] = {}
        for binding in bindings:
            dimension = binding.limit.dimension
            amount = asked(ask, dimension, output)
            held[binding.counter] = (dimension, amount)
            self.counter(binding.counter).reserved += amount
        expires_ms = self.time_ms + self.lease_ms
        self.leases[id_] = LeaseModel(path, model, ask, output, held, expires_ms)
        self.event()
        return Answer("GRANTED", output=output)

    def _limit_refusal(self, bindings: list[Binding], ask: Ask) -> Answer | None:
        too_large: list[int] = []
        resets: list[int] = []
        held: list[Binding] = []
        for binding in bindings:
            limit = binding.limit
            need = asked(ask, limit.dimension, ask.output_least)
            if need > limit.amount:
                too_large.append(largest_output(ask, limit.dimension, limit.amount))
            elif self.spent(binding.counter) + need > limit.amount:
                resets.append(binding.resets_at_ms)
            elif need > self.free(binding):
                held.append(binding)
        if too_large:
            return Answer("TOO_LARGE", output=max(0, min(too_large)))
        if resets:
            return Answer("EXHAUSTED", until_ms=0 if 0 in resets else max(resets))
        if held:
            freed = [self._freed_at(each, ask) for each in held]
            return Answer("HELD", until_ms=0 if 0 in freed else max(freed))
        return None

    def _freed_at(self, binding: Binding, ask: Ask) -> int:
        """The earliest expiry after which the least form would fit, 0 if allotments hold it."""
        need = asked(ask, binding.limit.dimension, ask.output_least)
        room = self.free(binding)
        for lease in sorted(self.leases.values(), key=lambda each: each.expires_ms):
            room += lease.held.get(binding.counter, ("usd", 0))[1]
            if room >= need:
                return lease.expires_ms
        assert self.allotted(binding.counter), "held, but not by leases"
        return 0

    def _granted_output(self, bindings: list[Binding], ask: Ask) -> int:
        output = ask.output_wanted
        for binding in bindings:
            if not grows(ask, binding.limit.dimension):
                continue
            free = self.free(binding)
            if self.counter(binding.counter).reserved:
                free = free * binding.share_percent // 100
            fits = largest_output(ask, binding.limit.dimension, free)
            output = min(output, max(ask.output_least, fits))
        return output

    def settle(self, id_: str, truth: Truth) -> str:
        """Books the truth; after an expiry it replaces the charge, once."""
        if id_ in self.leases:
            self._end(id_, truth)
            self.resolved.add(id_)
            self.event()
            self.ended()
            return "SETTLED"
        if id_ in self.expired:
            self._replace(id_, truth)
            return "CORRECTED"
        if id_ in self.resolved:
            return "ALREADY"
        self.resolved.add(id_)
        self.event()
        return "UNKNOWN"

    def release(self, id_: str) -> str:
        """Gives a reservation back, also one that has expired; an unknown id leaves a tombstone,
        and an event, as whoever settles or releases here has one."""
        nothing = Truth(0, 0, 0)
        if id_ in self.leases:
            self._end(id_, nothing)
            self.event()
            self.ended()
        elif id_ in self.expired:
            self._replace(id_, nothing)
        elif id_ in self.resolved:
            return "ALREADY"
        else:
            self.event()
        self.resolved.add(id_)
        return "RELEASED"

    def _replace(self, id_: str, truth: Truth) -> None:
        for name, (dimension, charged) in self.expired.pop(id_).items():
            self.counter(name).spent += charge(dimension, charged, truth) - charged
        self.resolved.add(id_)
        self.event()

    def _end(self, id_: str, truth: Truth) -> dict[str, tuple[Dimension, int]]:
        charges: dict[str, tuple[Dimension, int]] = {}
        for name, (dimension, held) in self.leases.pop(id_).held.items():
            charges[name] = (dimension, charge(dimension, held, truth))
            self.counter(name).reserved -= held
            self.counter(name).spent += charges[name][1]
        return charges

    def extend(self, id_: str, path: ScopePath) -> str:
        """One heartbeat."""
        if id_ not in self.leases:
            return "GONE"
        self.leases[id_].expires_ms = self.time_ms + self.lease_ms
        refusal = self.state_refusal(path, is_open=True)
        return refusal.code if refusal else "OK"

    def sweep(self) -> set[str]:
        """Charges what has expired in full, unless the ledger opened less than a lease ago."""
        if self.time_ms < self.opened_ms + self.lease_ms:
            return set()
        due = [id_ for id_, lease in self.leases.items() if lease.expires_ms <= self.time_ms]
        for id_ in due:
            self.expired[id_] = self._end(id_, Truth(None, None, None))
            self.event()
            self.ended()
        return set(due)

    def set_state(self, path: str, action: str, attempt: int) -> str:
        """Closed stays closed, a fence only rises."""
        scope = self.scope(path)
        if scope.state == "closed" and action != "close":
            return "CLOSED"
        if action == "fence":
            scope.fence = max(scope.fence, attempt)
        else:
            scope.state = {"freeze": "frozen", "thaw": "open", "close": "closed"}[action]
        self.event()
        return "DONE"


def kept(current: Policy, wanted: Policy) -> Policy:
    """The wanted policy under the ids that its limits have in the current one."""
    own = {limit.identity: limit.id for limit in current.limits}
    children = {limit.identity: limit.id for limit in current.per_child}
    return msgspec.structs.replace(
        wanted,
        limits=_renamed(wanted.limits, own),
        per_child=_renamed(wanted.per_child, children),
    )


def _renamed(wanted: tuple[Limit, ...], ids: dict[Identity, str]) -> tuple[Limit, ...]:
    return tuple(
        msgspec.structs.replace(limit, id=ids.get(limit.identity, "new")) for limit in wanted
    )


def covers(limit: Limit, model: str) -> bool:
    """Whether a limit counts requests for this model."""
    return not limit.models or any(fnmatch.fnmatchcase(model, each) for each in limit.models)


def asked(ask: Ask, dimension: Dimension, output: int) -> int:
    """What a request with this output takes of a dimension; money rounded up."""
    if dimension == "usd":
        return ask.usd_fixed_nusd + (output * ask.usd_pusd_per_output + 999) // 1000
    if dimension == "tokens":
        return ask.tokens_fixed + output * ask.tokens_per_output
    return 1


def grows(ask: Ask, dimension: Dimension) -> bool:
    """Whether less output takes less of this dimension: else there is nothing to clamp."""
    return asked(ask, dimension, 1000) > asked(ask, dimension, 0)


def largest_output(ask: Ask, dimension: Dimension, amount: int) -> int:
    """The largest output up to what was wanted that fits an amount, -1 if not even none does."""
    low, high = -1, ask.output_wanted
    while low < high:
        middle = (low + high + 1) // 2
        if asked(ask, dimension, middle) <= amount:
            low = middle
        else:
            high = middle - 1
    return low


def charge(dimension: Dimension, held: int, truth: Truth) -> int:
    """What an ending books for a counter: the truth, or as held where it is unknown."""
    if dimension == "concurrency":
        return 0
    known = {"usd": truth.usd_nusd, "tokens": truth.tokens, "requests": truth.requests}[dimension]
    return held if known is None else known


def window_at(window: Window, at_ms: int) -> tuple[int, int]:
    """(start, end) in seconds since 1970, by the calendar."""
    if window == "total":
        return 0, 0
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(second=0)
    if window == "minute":
        return _seconds(moment), _seconds(moment + timedelta(minutes=1))
    moment = moment.replace(minute=0)
    if window == "hour":
        return _seconds(moment), _seconds(moment + timedelta(hours=1))
    moment = moment.replace(hour=0)
    if window == "day":
        return _seconds(moment), _seconds(moment + timedelta(days=1))
    if window == "week":
        year, week, _ = moment.isocalendar()
        monday = datetime.fromisocalendar(year, week, 1).replace(tzinfo=UTC)
        return _seconds(monday), _seconds(monday + timedelta(weeks=1))
    first = moment.replace(day=1)
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    return _seconds(first), _seconds(first.replace(year=year, month=month))


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
