"""What the demo model says and calls, whichever wire format it is asked in."""

import re
from typing import Any, NamedTuple

import msgspec

CHARS_PER_TOKEN = 4
ANSWER_WORDS_MAX = 120
QUESTION_WORDS, RESULT_WORDS = 12, 32
"""So many of what was said last are repeated: of a command's result the first 20 are about it."""

EXAMPLE_DEPTH_MAX = 16
"""Objects inside objects that an answer has."""

REASONING_TOKENS = 64
_QUOTED = re.compile(r'"([^"]{1,200})"')
_WORD = re.compile(r"[\w-]+")
_NUMBER = re.compile(r"\d{1,15}")


class Tool(NamedTuple):
    """A tool that may be called: its name, and the JSON schema of its arguments."""

    name: str
    schema: Any


class Asked(NamedTuple):
    """A request. `said`: the text of its newest message, which `is_result` where that is a tool's;
    `results`: how many tools were called for the newest question; `cap`: of output tokens;
    `schema`: what the answer has to be JSON of; `question`: the newest text of the user."""

    model: str
    said: str
    prompt_bytes: int
    cap: int | None = None
    tools: tuple[Tool, ...] = ()
    results: int = 0
    is_result: bool = False
    schema: Any = None
    question: str = ""


class Answer(NamedTuple):
    """`words` of text, `is_whole` unless the cap cut them, or else one tool `called` with
    `arguments` (JSON). Tokens: one a word or call, and those that it reasons for."""

    words: list[str]
    is_whole: bool
    called: str
    arguments: str
    input_tokens: int
    reasoning_tokens: int

    @property
    def output_tokens(self) -> int:
        """Reasoning included."""
        return self.reasoning_tokens + (1 if self.called else len(self.words))


def answer(asked: Asked) -> Answer:
    """The answer to it, always the same."""
    cap = ANSWER_WORDS_MAX if asked.cap is None else asked.cap
    reasoning = min(REASONING_TOKENS, cap // 2) if "reasoner" in asked.model else 0
    words = _text(asked).split()
    cut = words[: cap - reasoning]
    called = arguments = ""
    tools = _wanted(asked)
    if asked.results < len(tools):
        tool = tools[asked.results]
        properties = _needed(_object(tool.schema))
        values = {name: _example(schema, asked.said) for name, schema in properties.items()}
        called, arguments = tool.name, msgspec.json.encode(values).decode()
    tokens = asked.prompt_bytes // CHARS_PER_TOKEN + 1
    return Answer(cut, len(cut) == len(words), called, arguments, tokens, reasoning)


def _wanted(asked: Asked) -> tuple[Tool, ...]:
    """The tools that the question names, or else all: a coding agent brings many."""
    words = set(_WORD.findall(asked.question))
    return tuple(each for each in asked.tools if each.name in words) or asked.tools


def _needed(schema: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a call has to have; of a schema that does not say which, all."""
    properties, required = _object(schema.get("properties")), schema.get("required")
    if not isinstance(required, list) or not required:
        return properties
    return {name: each for name, each in properties.items() if name in required}


def _text(asked: Asked) -> str:
    if asked.schema is not None:
        return msgspec.json.encode(_example(asked.schema, asked.said)).decode()
    repeated = RESULT_WORDS if asked.is_result else QUESTION_WORDS
    about = " ".join(asked.said.split()[:repeated]) or "nothing"
    if asked.is_result:
        return f"Using the tool's result ({about}), the demo model is done."
    return (
        f"This is the demo model. You asked about: {about}. "
        "It answers the same way every time, it costs what its price says, and it stops at the "
        "cap that your budget allows. Point this key at a real model when you are ready."
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _example(schema: Any, said: str, depth: int = 0) -> Any:
    """A value of the schema's type: of an enum the first, else what was said in quotes, or the
    first number in it."""
    schema = _object(schema)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = str(schema.get("type"))
    quoted, number = _QUOTED.search(said), _NUMBER.search(said)
    if kind == "object" and depth < EXAMPLE_DEPTH_MAX:
        inner = _object(schema.get("properties"))
        return {name: _example(each, said, depth + 1) for name, each in inner.items()}
    if kind == "string":
        return quoted[1] if quoted else "demo"
    if kind in ("integer", "number"):
        return int(number[0]) if number else 1
    return {"boolean": True, "array": []}.get(kind, {})
