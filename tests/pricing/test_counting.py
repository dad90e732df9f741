"""The counted bound: never below what a provider bills, and far below the bytes for plain text."""

import json
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splintr import Tokenizer

from bench.cookbook import messages_tokens, tools_tokens
from pricing.bound import json_tokens_max, text_tokens_max
from pricing.counting import Family, Texts, Tokenizers, family_of

ENCODINGS = ("o200k_base", "cl100k_base")
TOKENIZERS = Tokenizers()
WORDS = (
    "the",
    " budget",
    "\n\n",
    "<|endoftext|>",
    "漢字",
    "naïve",
    "  ",
    "{}",
    "😀",
    "don't",
    "42",
)
PROSE = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)
TEXT = PROSE | st.text(st.characters(codec="utf-8"), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=12,
)


class Counting:
    """Both ways of counting with one tokenizer that is loaded once."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._ordinary = Tokenizer.from_pretrained(encoding).encode_ordinary

    def true(self, text: str) -> int:
        return len(self._ordinary(text))

    def text(self, text: str) -> int:
        texts = Texts()
        beside = texts.text(text)
        return beside + TOKENIZERS.count(self.encoding, texts.pieces)

    def json(self, text: str) -> int:
        texts = Texts()
        beside = texts.json(text)
        return beside + TOKENIZERS.count(self.encoding, texts.pieces)


@pytest.fixture(scope="module", params=ENCODINGS)
def counting(request: pytest.FixtureRequest) -> Counting:
    return Counting(request.param)


@settings(deadline=None, max_examples=100)
@given(text=TEXT)
def test_a_text_is_counted_whole(counting: Counting, text: str) -> None:
    """At least its tokens, whatever special tokens it spells; exactly them if it spells none."""
    counted = counting.text(text)
    assert counted >= counting.true(text)
    if "<|" not in text:
        assert counted == counting.true(text)


def test_lone_surrogates_keep_their_byte_bound(counting: Counting) -> None:
    """JSON allows them, no tokenizer does: a replacement character or an error."""
    text = "a\ud800b"
    assert counting.text(text) == text_tokens_max(text)
    assert counting.json(json.dumps(text)) >= 3


def styles(value: object) -> list[str]:
    """How a provider can write JSON into its prompt."""
    escaped = json.dumps(value)
    html_safe = escaped
    for char in "<>&'":
        html_safe = html_safe.replace(char, f"\\u{ord(char):04x}")
    return [
        escaped,
        html_safe,
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        json.dumps(value, ensure_ascii=False, indent=2),
        json.dumps(value, indent=4),
    ]


@settings(deadline=None, max_examples=100)
@given(value=JSON)
def test_json_is_counted_for_every_style(counting: Counting, value: object) -> None:
    """Spaced, indented, escaped, HTML-safe: none has more tokens than the compact form's bound."""
    bound = counting.json(msgspec.json.encode(value).decode())
    for text in styles(value):
        assert counting.true(text) <= bound, text


PARAMETERS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "boolean"]), "description": TEXT},
        optional={"enum": st.lists(TEXT, min_size=1, max_size=4)},
    ),
    max_size=5,
)
TOOLS = st.lists(
    st.builds(
        lambda name, description, properties: {
            "type": "function",
            "function": {
                "name": name,
                "description": description,
                "parameters": {"type": "object", "properties": properties},
            },
        },
        st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
        TEXT,
        PARAMETERS,
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=100)
@given(tools=TOOLS)
def test_tools_are_counted_above_the_cookbooks_formula(
    counting: Counting, tools: list[dict[str, Any]]
) -> None:
    """OpenAI writes functions as declarations of its own; its formula never exceeds the bound, even
    without what is added for each tool."""
    bound = sum(counting.json(msgspec.json.encode(tool).decode()) for tool in tools)
    billed = tools_tokens(tools, counting.encoding, counting.true)
    assert billed <= bound + 24 * len(tools)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit of temperature to return",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["location"],
        },
    },
}
ASKED = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


@pytest.mark.parametrize(("encoding", "billed"), [("o200k_base", 101), ("cl100k_base", 105)])
def test_the_cookbooks_formula_gives_what_the_api_billed(encoding: str, billed: int) -> None:
    """The yardstick itself: the notebook's request, and the prompt tokens that OpenAI's API gave
    for it (gpt-4o: 101, gpt-4: 105)."""
    true = Counting(encoding).true
    assert messages_tokens(ASKED, true) + tools_tokens([WEATHER], encoding, true) == billed


@pytest.mark.parametrize(
    ("provider", "model", "encoding"),
    [
        ("openai", "gpt-4o", "o200k_base"),
        ("openai", "gpt-4o-mini-2024-07-18", "o200k_base"),
        ("openai", "gpt-5.6-luna", "o200k_base"),
        ("openai", "ft:gpt-4.1-mini:acme::id", "o200k_base"),
        ("openrouter", "openai/o4-mini", "o200k_base"),
        ("groq", "openai/gpt-oss-120b", "o200k_base"),
        ("openai", "gpt-4-0613", "cl100k_base"),
        ("openai", "gpt-3.5-turbo-0125", "cl100k_base"),
        ("openai", "gpt-3.5-turbo-instruct-0914", "cl100k_base"),
        ("openai", "davinci-002", "cl100k_base"),
        ("openai", "text-embedding-3-large", "cl100k_base"),
        ("openai", "text-embedding-ada-002", "cl100k_base"),
    ],
)
def test_families_whose_tokenizer_is_published(provider: str, model: str, encoding: str) -> None:
    """As tiktoken's own table has them, wherever they are served."""
    family = family_of(provider, model)
    assert family is not None
    assert family.encoding == encoding
    assert (family.framing_tokens > 0) == ("gpt-oss" in model)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-6-sol"),
        ("openai", "gpt-4o-search-preview"),
        ("openai", "gpt-5-search-api"),
        ("openai", "o3-deep-research"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "gpt-4x"),
        ("openai", "Qwen/Qwen3-32B"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-opus-5"),
        ("demo", "small"),
        ("openai", ""),
    ],
)
def test_all_others_keep_the_byte_bound(provider: str, model: str) -> None:
    """Unknown tokenizers, names of the operator's own, models that read what nobody has seen."""
    assert family_of(provider, model) is None


def test_harmony_fits_its_framing() -> None:
    """gpt-oss: the system message, developer message and tools' namespace that OpenAI's harmony
    format puts around a request, as its guide shows them, are less than what is added."""
    system = (
        "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\n"
        "Current date: 2026-11-28\n\nReasoning: high\n\n# Valid channels: analysis, commentary, "
        "final. Channel must be included for every message.\nCalls to these tools must go to the "
        "commentary channel: 'functions'."
    )
    developer = "# Instructions\n\n\n\n# Tools\n\n## functions\n\nnamespace functions {\n\n\n}"
    true = Counting("o200k_base").true
    marks = 3 * 6
    assert family_of("groq", "openai/gpt-oss-20b") == Family("o200k_base", 192)
    assert true(system) + true(developer) + marks <= 192


def test_english_is_counted_far_below_its_bytes(counting: Counting) -> None:
    """What it is for: prose has a quarter of the tokens that its bytes allow."""
    text = "Every request is reserved at its worst possible cost before it is forwarded. " * 50
    assert counting.text(text) < text_tokens_max(text) / 3
    schema = json.dumps(WEATHER, separators=(",", ":"))
    assert counting.json(schema) < json_tokens_max(schema)


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, "aB" * 500_000, " " * 10**6, "漢" * 300_000, "<|a" * 300_000],
    ids=["one letter", "letters", "spaces", "ideographs", "special tokens"],
)
def test_no_text_is_slow_to_count(counting: Counting, text: str) -> None:
    """A tokenizer that merges pairs naively takes minutes for a million equal letters."""
    start = time.process_time()
    assert 0 < counting.text(text) <= text_tokens_max(text)
    assert time.process_time() - start < 5


def test_no_tokenizer_is_loaded_before_it_is_needed() -> None:
    """Importing prices and the whole gateway, and quoting, loads none (35 MB)."""
    code = (
        "import sys, pricing, gateway.app, gateway.counting\n"
        "gateway.counting.InputCounting()\n"
        "assert pricing.text_tokens_max('hello') == 5\n"
        "sys.exit('splintr' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
