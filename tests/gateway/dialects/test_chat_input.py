"""The bound of a chat request's input: never below what is billed, by bytes and counted, pictures
by their sizes."""

import base64
import functools
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splintr import Tokenizer

from bench.cookbook import messages_tokens, tools_tokens
from gateway.dialects.chat import ChatDialect
from gateway.dialects.contract import Call
from pricing import Image, Texts, Tokenizers
from pricing.images import Size

TOKENIZERS = Tokenizers()
WORDS = ("the", " budget", "\n", "<|im_start|>", "漢字", "naïve", "    ", "x" * 30, "😀", "1234")
TEXT = st.lists(st.sampled_from(WORDS), max_size=40).map("".join) | st.text(
    st.characters(codec="utf-8"), max_size=80
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "developer"]), "content": TEXT},
    optional={"name": st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)},
)
FUNCTION = st.builds(
    lambda name, description, key, about: {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {key: {"type": "string", "description": about}},
            },
        },
    },
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    TEXT,
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    TEXT,
)


@functools.cache
def tokenizer(encoding: str) -> Any:
    return Tokenizer.from_pretrained(encoding)


def parsed(messages: object, **fields: object) -> Call:
    document = {"model": "m", "messages": messages, **fields}
    return ChatDialect().parse(msgspec.json.encode(document))


def counted(call: Call, encoding: str) -> int:
    texts = Texts()
    beside = ChatDialect().input_tokens_max(call, texts)
    return beside + TOKENIZERS.count(encoding, texts.pieces)


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
@settings(deadline=None, max_examples=200)
@given(
    messages=st.lists(MESSAGE, min_size=1, max_size=12),
    tools=st.lists(FUNCTION, max_size=3),
)
def test_no_request_is_billed_above_its_bounds(
    encoding: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    """What OpenAI's cookbook says the API bills, for any messages, names and tools, is at most the
    counted bound, and that at most a little above the bytes."""

    def count(text: str) -> int:
        return len(tokenizer(encoding).encode_ordinary(text))

    billed = messages_tokens(messages, count) + tools_tokens(tools, encoding, count)
    call = parsed(messages, tools=tools) if tools else parsed(messages)
    assert billed <= counted(call, encoding)
    assert billed <= call.input_tokens_max
    assert not call.unseen_content


def test_functions_count_as_tools() -> None:
    """The older name of tools has the same overheads: one per function, and the price's framing."""
    messages = [{"role": "user", "content": "hello"}]
    function = {"name": "f", "description": "d"}
    older = parsed(messages, functions=[function] * 9)
    newer = parsed(messages, tools=[{"type": "function", "function": function}] * 9)
    assert older.has_tools
    plain = parsed(messages).input_tokens_max
    assert older.input_tokens_max - plain >= 9 * 24
    assert older.input_tokens_max < newer.input_tokens_max
    assert counted(older, "o200k_base") < counted(newer, "o200k_base")


def test_everything_that_is_priced_is_counted_again() -> None:
    """Each place of a request that moves the byte bound moves the counted one."""
    plain = [{"role": "user", "content": "hello"}]
    text = "every word of this is in the prompt " * 20
    grown: list[Call] = [
        parsed([{"role": "user", "content": text}]),
        parsed([{"role": "user", "content": [{"type": "text", "text": text}]}]),
        parsed([{"role": "user", "content": [text]}]),
        parsed([{"role": "user", "content": "hello", "name": text}]),
        parsed([{"role": "assistant", "refusal": text}]),
        parsed([{"role": "assistant", "tool_calls": [{"function": {"arguments": text}}]}]),
        parsed(plain, tools=[{"type": "function", "function": {"description": text}}]),
        parsed(plain, functions=[{"name": "f", "description": text}]),
        parsed(plain, response_format={"json_schema": {"description": text}}),
        parsed(plain, prediction={"type": "content", "content": text}),
    ]
    least = counted(parsed(plain), "o200k_base")
    for call in grown:
        assert not call.unseen_content
        assert call.input_tokens_max > counted(call, "o200k_base") > least + 100


def picture(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(
        ">II5B", width, height, 8, 2, 0, 0, 0
    )
    return f"data:image/png;base64,{base64.b64encode(head + bytes(4)).decode()}"


def image(value: object, **beside: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": value, **beside}]}]


def test_pictures_are_handed_on_with_size_and_detail() -> None:
    """In order, from data URLs and from elsewhere, as object or as text; each adds its marks."""
    parts = [
        {"type": "image_url", "image_url": {"url": picture(640, 480), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": picture(10, 20), "detail": None}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "image_url", "image_url": picture(7, 8)},
    ]
    call = parsed([{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}])
    assert call.images == (
        Image(Size(640, 480), "low"),
        Image(Size(10, 20)),
        Image(None),
        Image(Size(7, 8)),
    )
    assert not call.unseen_content
    without = parsed([{"role": "user", "content": [{"type": "text", "text": "look"}]}])
    assert call.input_tokens_max == without.input_tokens_max + 4 * 4


@pytest.mark.parametrize(
    "messages",
    [
        image(None),
        image(7),
        image({}),
        image({"url": None}),
        image({"url": picture(1, 1), "detail": 3}),
        image({"url": picture(1, 1), "media_resolution": "ultra_high"}),
        image({"url": picture(1, 1)}, max_pixels=10**9),
        image({"url": picture(1, 1)}, text="more"),
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
        [{"role": "user", "content": [{"type": "file", "file": {}}]}],
        [{"role": "user", "content": "x", "images": [picture(1, 1)]}],
    ],
)
def test_what_is_not_understood_stays_unseen(messages: object) -> None:
    """A setting of a picture that is not known here, or anything else than text and pictures."""
    assert parsed(messages).unseen_content
