"""What a workflow is: its budget, its input and its steps, as people and programs write them.

The format is YAML, JSON or the Python value of either. What is read here has the right form; that
it can run is seen in `orchestrator.checks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SerializeAsAny,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from budgets.policy import (
    AMOUNT_MAX,
    DIMENSIONS,
    LIMITS_PER_SCOPE_MAX,
    MODELS_PER_LIMIT_MAX,
    NUSD_PER_USD,
    WINDOWS,
    Limit,
    parse_policy,
)
from orchestrator.durations import DurationS
from orchestrator.form import form_problems
from orchestrator.kinds import KINDS, Kind
from orchestrator.kinds.command import VARIABLE
from orchestrator.kinds.contract import texts_in
from orchestrator.kinds.http import URL
from orchestrator.kinds.python import FUNCTION
from orchestrator.places import STEP_ID
from orchestrator.plain import not_plain
from orchestrator.problems import NAMES_SHOWN_MAX, DefinitionInvalid, Place, nearest

STEPS_MAX = 1_000
NEEDS_MAX = 100
RETRIES_MAX = 20
ROUNDS_MAX = 1_000
AT_ONCE_MAX = 1_000
NAME = r"^[a-z0-9][a-z0-9_-]{0,47}$"
ID = f"^{STEP_ID}$"
_STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
_ACTION = "action"
_MEANT: Mapping[str, str] = MappingProxyType(
    {
        NAME: "has 1 to 48 of a-z, 0-9, _ and -, as in research-report",
        ID: "begins with a-z and has at most 48 of a-z, 0-9 and _, so that templates can name it",
        FUNCTION: "is a module and a function of it, as in research.writer:write",
        URL: "is the address of a server, as in https://agents.example/run",
        VARIABLE: "has letters, digits and _, as an environment variable",
    }
)
"""What a text is that does not match its pattern."""

_TYPES: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": (list, tuple),
        "object": dict,
    }
)

if TYPE_CHECKING:
    Action = Kind
else:
    Action = Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")]  # noqa: UP007  # of a list


def _limits(document: object) -> tuple[Limit, ...]:
    """A step's or a run's: a list of limits, as in `comptroller.yaml`."""
    if not isinstance(document, list):
        raise ValueError("a budget is a list of limits, as in [{usd: '2.00'}]")  # noqa: TRY004  # pydantic's
    return parse_policy(document).limits


_COUNT_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": AMOUNT_MAX}
_USD_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,9})?$"},
        {"type": "number", "minimum": 0, "maximum": AMOUNT_MAX // NUSD_PER_USD},
    ]
}
_LIMIT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{each: _USD_SCHEMA if each == "usd" else _COUNT_SCHEMA for each in DIMENSIONS},
        "window": {"enum": list(WINDOWS)},
        "models": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MODELS_PER_LIMIT_MAX,
        },
    },
    "additionalProperties": False,
    "oneOf": [{"required": [each]} for each in DIMENSIONS],
}
"""As budgets.policy reads it, but for the sums that it alone can do."""

Budget = Annotated[
    tuple[InstanceOf[Limit], ...],
    BeforeValidator(_limits),
    WithJsonSchema({"type": "array", "maxItems": LIMITS_PER_SCOPE_MAX, "items": _LIMIT_SCHEMA}),
]


def _one_of_two(second: type, words: str) -> BeforeValidator:
    """A text, or that: else each of the two would complain for itself."""

    def checked(value: object) -> object:
        if isinstance(value, str | second) or (second is tuple and isinstance(value, list)):
            return value
        raise ValueError(words)

    return BeforeValidator(checked)


def _in_schema(default: str | int) -> Any:  # pydantic's FieldInfo
    """A default as one writes it: what it was read to is no form of the document."""
    return Field(json_schema_extra={"default": default})


class _Part(BaseModel):
    """A mapping with known fields; a plain value stands for the first of them."""

    model_config = _STRICT

    @model_validator(mode="before")
    @classmethod
    def _written_short(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {next(iter(cls.model_fields)): value}


class Retries(_Part):
    """Attempts after the first; the pause before them doubles from `backoff`."""

    most: Annotated[int, Field(strict=True, ge=0, le=RETRIES_MAX)]
    backoff: Annotated[DurationS, _in_schema("1s")] = 1


class Foreach(_Part):
    """Once for each of `items`, at most `concurrency` at a time; the outputs are in their order."""

    items: Annotated[
        str | tuple[Any, ...], _one_of_two(tuple, "foreach takes a list, or a template of one")
    ]
    concurrency: Annotated[int, Field(strict=True, ge=1, le=AT_ONCE_MAX)] = 16


class Until(_Part):
    """Again and again until `condition` holds, `most` times at most."""

    condition: Annotated[str, Field(min_length=1)]
    most: Annotated[int, Field(strict=True, ge=1, le=ROUNDS_MAX)] = 10


class Defaults(BaseModel):
    """What holds for every step that says nothing else."""

    model_config = _STRICT
    model: str | None = None
    agent: str | None = None
    retries: Annotated[Retries, _in_schema(2)] = Retries(most=2)
    timeout: Annotated[DurationS, _in_schema("1h")] = 3_600


class Input(BaseModel):
    """One of the values that a run is given."""

    model_config = _STRICT
    type: Literal["string", "integer", "number", "boolean", "array", "object"]
    default: Any = None
    required: StrictBool = True
    description: str = ""

    def fits(self, value: object) -> bool:
        """Whether a value is of its type."""
        if isinstance(value, bool):
            return self.type == "boolean"
        return isinstance(value, _TYPES[self.type])


class Step(BaseModel):
    """One node of the graph. `action` is what it does: the field that names its kind. `needs`:
    steps that end before it; `when`: else it is skipped; `on_failure`: whether the run fails with
    it; `guaranteed`: its budget is moved to it, where siblings cannot spend it."""

    model_config = _STRICT
    id: Annotated[str, Field(pattern=ID)]
    action: SerializeAsAny[Action]
    needs: Annotated[tuple[str, ...], Field(max_length=NEEDS_MAX)] = ()
    when: Annotated[str | bool, _one_of_two(bool, "when is a template, or true or false")] = True
    foreach: Foreach | None = None
    until: Until | None = None
    retries: Retries | None = None
    timeout: DurationS | None = None
    budget: Budget = ()
    guaranteed: StrictBool = False
    models: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    agent: str | None = None
    on_failure: Literal["fail", "skip"] = "fail"

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict) or isinstance(value.get(_ACTION), Kind):
            return value
        named = [name for name in KINDS if name in value]
        if len(named) != 1 or _ACTION in value:
            raise ValueError(
                f"a step does one thing: write one of {', '.join(KINDS)}{_instead(value, named)}"
            )
        (name,) = named
        said = value[name]
        if not isinstance(said, dict):
            said = {KINDS[name].short: said}
        elif "kind" in said:
            raise ValueError(f"unknown field kind in {name}: remove it")
        rest = {field: each for field, each in value.items() if field != name}
        return {**rest, _ACTION: {**said, "kind": name}}

    def templates(self) -> Iterator[tuple[Place, str]]:
        """Every text of it that is a template, with its place in it."""
        yield from self.action.templates()
        if isinstance(self.when, str):
            yield ("when",), self.when
        if self.foreach is not None:
            for place, text in texts_in(self.foreach.items):
                yield ("foreach", "items", *place), text
        if self.until is not None:
            yield ("until", "condition"), self.until.condition


class Workflow(BaseModel):
    """`budget`: of each run; `on_exhausted`: whether a run whose budget is used up ends, or asks
    for more; `concurrency`: steps of a run at once, and `runs_at_once` runs at work, whatever their
    version: others wait; `output`: a template of what a run says at its end."""

    model_config = _STRICT
    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[int, Field(strict=True, ge=1, le=10**9)] = 1
    description: str = ""
    budget: Annotated[Budget, Field(min_length=1, json_schema_extra={"minItems": 1})]
    on_exhausted: Literal["halt", "ask"] = "halt"
    defaults: Annotated[Defaults, Field(json_schema_extra={"default": {}})] = Defaults()
    input: dict[Annotated[str, Field(pattern=ID)], Input] = Field(default_factory=dict)
    concurrency: Annotated[int, Field(strict=True, ge=1, le=AT_ONCE_MAX)] = 32
    runs_at_once: Annotated[int, Field(strict=True, ge=1, le=AT_ONCE_MAX)] | None = None
    output: str = ""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=STEPS_MAX)]

    def retries_of(self, step: Step) -> Retries:
        """Its own, or those that hold for it."""
        default = self.defaults.retries if step.action.retries_by_default else Retries(most=0)
        return step.retries or default


def total_nusd(limits: Sequence[Limit]) -> int | None:
    """What may be spent in all, of all models together; None where nothing says so."""
    found = [each.amount for each in limits if each.identity == ("usd", "total", ())]
    return min(found, default=None)


def _instead(step: Mapping[str, object], named: list[str]) -> str:
    """What a step says where it should name one kind."""
    if named:
        return f", not {' and '.join(named)}"
    for name in sorted(step.keys() - Step.model_fields.keys())[:NAMES_SHOWN_MAX]:
        if (hint := nearest(name, [*KINDS])).endswith("?"):
            return f"; {name}{hint}"
    return ""


def read_definition(document: object) -> Workflow:
    """Of the plain values of a document. Raises DefinitionInvalid for its form."""
    if problem := not_plain(document):
        raise DefinitionInvalid((problem,))
    try:
        return Workflow.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise DefinitionInvalid(tuple(form_problems(found, _fields_at, _MEANT))) from None


def _fields_at(place: Place) -> set[str]:
    """The fields of the mapping there."""
    if place[:1] == ("steps",) and len(place) > 1:
        return _fields_of_step(place[2:])
    models: Mapping[Place, type[BaseModel]] = {
        (): Workflow, ("defaults",): Defaults, ("defaults", "retries"): Retries
    }  # fmt: skip
    model = Input if place[:1] == ("input",) else models.get(place)
    return set() if model is None else set(model.model_fields)


def _fields_of_step(place: Place) -> set[str]:
    if not place:
        return {*Step.model_fields.keys() - {_ACTION}, *KINDS}
    parts: Mapping[str, type[BaseModel]] = {
        "retries": Retries, "foreach": Foreach, "until": Until, **KINDS
    }  # fmt: skip
    model = parts.get(str(place[0]))
    return set() if model is None else {*model.model_fields.keys() - {"kind"}}
