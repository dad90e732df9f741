"""What a kind of step says of itself in a definition, and does in a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from orchestrator.problems import Place


class Call(NamedTuple):
    """Of a model: None where nobody has named one, and no cap."""

    model: str | None
    max_tokens: int | None


class StepFailed(Exception):  # what it is called in events
    """An attempt came to nothing; the message says why. Another one is made where the step has
    some left, unless `is_final`: it would fail for the same reason."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class BudgetUsedUp(StepFailed):
    """A budget said no for good; `scope` is whose it is, empty where nobody said."""

    def __init__(self, message: str, scope: str = "") -> None:
        super().__init__(message, is_final=True)
        self.scope = scope


class Held(Exception):  # nothing has failed
    """What it needs is set aside for others, or the ledger is away: the attempt is made again
    then, and does not count. `is_timed`: the step's timeout goes on meanwhile."""

    def __init__(self, message: str, again_in_ms: int, *, is_timed: bool = False) -> None:
        super().__init__(message)
        self.again_in_ms = again_in_ms
        self.is_timed = is_timed


class UsedUpForNow(Held):
    """A budget said no until its window ends, at `resets_at_ms` (since 1970; 0: until somebody is
    asked and gives more); `scope` is whose it is. When to look again follows from that."""

    def __init__(self, message: str, scope: str, resets_at_ms: int) -> None:
        super().__init__(message, 0)
        self.scope = scope
        self.resets_at_ms = resets_at_ms


class Waits(Exception):  # nothing has failed
    """Nothing is to be done until a time (ms since 1970; None: whenever it may be), or until it is
    signalled. The run may leave the memory of this process: the kind is asked again then."""

    def __init__(self, until_ms: int | None) -> None:
        super().__init__()
        self.until_ms = until_ms


@dataclass(frozen=True, slots=True)
class Signal:
    """What somebody told a step that waits: a person's decision, a callback, a sub-run's end.
    `by`: who; `payload`: a JSON value."""

    by: str
    at_ms: int
    payload: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a server. `body` is its JSON, or its text where it is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Attempt(Protocol):
    """One try of a step, as its kind sees it. All that it asks of models goes through the key that
    is this attempt's own."""

    @property
    def model(self) -> str | None:
        """What the definition names for steps that name none."""
        ...

    @property
    def begun_ms(self) -> int:
        """When its first try began (ms since 1970): the same after a restart."""
        ...

    @property
    def now_ms(self) -> int:
        """Ms since 1970."""
        ...

    @property
    def deadline_ms(self) -> int:
        """When its `timeout` is over."""
        ...

    @property
    def signal(self) -> Signal | None:
        """What it was told since it waits."""
        ...

    @property
    def name(self) -> str:
        """Of this attempt, unique among all."""
        ...

    @property
    def function_runner(self) -> tuple[str, ...]:
        """The words of a command, but for the last one, `module:function`: it calls that with its
        input as arguments by name."""
        ...

    async def ask(self, path: str, body: Mapping[str, Any], call: str) -> Answer:
        """POSTs a chat completion to the gateway (`/chat/completions`); whoever follows the run can
        read its text while it comes. `call` names it among those of this attempt: sent again, it
        is paid once. Raises BudgetUsedUp, Held, StepFailed."""
        ...

    async def run_program(self, argv: tuple[str, ...], env: Mapping[str, str], given: Any) -> Any:
        """Runs a program in the workflow's folder; `given` is its input, JSON. Answers what it
        wrote to COMPTROLLER_OUTPUT, else what it printed: JSON where it is, or text. Raises
        StepFailed with the end of what it said."""
        ...

    async def send(  # what makes a request
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any,
        *,
        key: bool,
        callback: bool,
    ) -> Answer:
        """A signed request to a server of the user's; in its headers, where it is to have them, the
        attempt's `key` and the address that a `callback` goes to. Raises StepFailed."""
        ...

    async def run_workflow(self, name: str, given: Mapping[str, Any]) -> Any:
        """Submits a run below this step, once for each failure; answers its output. Raises Waits
        until it has ended, StepFailed where it did not end well."""
        ...


class Kind(BaseModel):
    """The fields of one kind; `kind` is the field of the step that they stand in.

    `short`: the field that a plain value stands for (`prompt: "..."`). `written_out`: fields whose
    texts are no templates. `by_value`: fields of any JSON value, where a template that is one
    expression alone gives that value, and not its text. `is_free`: nothing of it can cost money.
    `has_key`: its attempts have a key each; who has none works at nothing itself, and waits as long
    as it says, or for ever.
    `works_elsewhere`: while it waits, somebody else works for it, so that it counts among what is
    at work at once.
    `retries_by_default`: the workflow's `defaults` say how often it is tried; who has steps of its
    own tries those, and is begun anew only where it says so itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    short: ClassVar[str]
    written_out: ClassVar[frozenset[str]] = frozenset()
    by_value: ClassVar[frozenset[str]] = frozenset()
    is_free: ClassVar[bool] = False
    has_key: ClassVar[bool] = True
    works_elsewhere: ClassVar[bool] = False
    retries_by_default: ClassVar[bool] = True
    kind: str

    @property
    def hands_key_on(self) -> bool:
        """Whether who works elsewhere has the attempt's key: it has to be asked again where that is
        dead."""
        return False

    def templates(self) -> Iterator[tuple[Place, str]]:
        """Every text that is a template, and its place below the step."""
        values = self.model_dump(exclude={"kind", *self.written_out})
        for place, text in texts_in(values):
            yield (self.kind, *place), text

    def call(self, default_model: str | None) -> Call | None:  # noqa: ARG002  # see the kinds
        """The one call that it makes; None where it makes none, or a program as many as it likes.
        `default_model`: of who names none."""
        return None

    async def perform(self, attempt: Attempt) -> Any:
        """Does it, with all templates rendered, and answers its output, a JSON value. Raises
        StepFailed, BudgetUsedUp, Held, Waits. It is cancelled at its timeout, and where its run
        ends."""
        raise NotImplementedError


def texts_in(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """The texts of a JSON value, with their places in it."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts_in(each, (*place, name))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from texts_in(each, (*place, index))
