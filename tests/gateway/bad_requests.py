"""Requests that must not be served, as data: each with the answer that it gets."""

import gzip
import json
import zlib
from typing import NamedTuple

from tests.gateway.stack import GREETING

BODY_BYTES_MAX = 8 * 1024 * 1024
GOOD = {"model": "plain", "messages": GREETING, "max_tokens": 10}
NOTHING = object()


class Case(NamedTuple):
    """A body and what it is refused with."""

    name: str
    body: bytes
    code: str = "invalid_request_error"
    status: int = 400
    headers: tuple[tuple[str, str], ...] = ()


def compact(document: object) -> bytes:
    """JSON as SDKs write it, without a space."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def with_field(name: str, value: object) -> bytes:
    """The good body with another value, or without the field."""
    document = {**GOOD, name: value}
    if value is NOTHING:
        del document[name]
    return compact(document)


def raw_field(name: str, value: bytes) -> bytes:
    """The good body with a value as it is written."""
    rest = {key: each for key, each in GOOD.items() if key != name}
    return compact(rest)[:-1] + b',"%b":%b}' % (name.encode(), value)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Nesting."""
    return opening * depth + closing * depth


def bomb(mebibytes: int) -> bytes:
    """A gzip of so much nothing: one mebibyte is packed, and comes again and again. Only its check
    sum, which is after all that, is wrong."""
    packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    first, again = (
        packer.compress(b" " * 1024 * 1024) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + again * (mebibytes - 1) + packer.flush()


MALFORMED = [
    Case("empty", b""),
    Case("no JSON", b"hello"),
    Case("half", compact(GOOD)[:-1]),
    Case("two documents", compact(GOOD) * 2),
    Case("a list", b"[]"),
    Case("a text", b'"x"'),
    Case("null", b"null"),
    Case("single quotes", b"{'model': 'plain'}"),
    Case("a comment", b'{"model": "plain" /* x */}'),
    Case("brackets", b"[" * 100_000),
    Case("deep object", b'{"a":' * 100_000),
    Case("deep field", raw_field("x", nested(100_000))),
    Case("deep messages", raw_field("messages", nested(100_000))),
    Case(
        "deep metadata",
        raw_field("metadata", nested(100_000, b'{"a":', b"}").replace(b":}", b":1}")),
    ),
    Case("byte order mark", b"\xef\xbb\xbf" + compact(GOOD)),
    Case("UTF-16", json.dumps(GOOD).encode("utf-16")),
    Case("not UTF-8 in a message", raw_field("messages", b'[{"role":"user","content":"\xff"}]')),
    Case("not UTF-8 in another field", raw_field("user", b'"\xff\xfe"')),
    Case("not UTF-8 deep inside", raw_field("metadata", b'{"a": ["\xc3("]}')),
    Case("not UTF-8 in a name", raw_field("x\xff", b"1").replace(b"\xc3\xbf", b"\xff")),
    Case("an overlong encoding", raw_field("user", b'"\xc0\xaf"')),
    Case("a bare control character", raw_field("user", b'"\x01"')),
]
DUPLICATES = [
    Case("model twice", raw_field("model", b'"plain", "model": "dear"')),
    Case("model twice, no spaces", b'{"model":"plain","model":"dear","messages":[]}'),
    Case("model twice, escaped", raw_field("model", b'"plain", "mod\\u0065l": "dear"')),
    Case("cap twice", raw_field("max_tokens", b'1, "max_tokens": 9000')),
    Case("cap twice, escaped", raw_field("max_tokens", b'1, "max_t\\u006fkens": 9000')),
    Case("unknown field twice", raw_field("x", b'1, "x": 2')),
    Case("messages twice", raw_field("messages", b'[], "messages": []')),
    Case("n twice, no spaces", raw_field("n", b'1,"n":100').replace(b" ", b"")),
]
WRONG_TYPES: dict[str, list[object]] = {
    "model": [NOTHING, None, 1, True, [], ["plain"], {}, "", "x" * 10_000],
    "messages": [
        *(NOTHING, None, "hi", 1, {}, [], [1], ["x"], [None], [[]], [{}], [{"content": "x"}]),
        *([{"role": 1, "content": "x"}], [{"role": None, "content": "x"}]),
        *([{"role": "user", "content": [1]}], [{"role": "user", "content": [None]}]),
    ],
    "stream": ["true", 1, 0, [], {}, "yes"],
    "n": [0, -3, 10**9, 10**30, 1.5, 1.0, "1", True, [], {}],
    "tools": ["x", 1, {}, [1], ["x"], [None]],
    "modalities": ["audio", 1, {}],
    **{
        cap: [0, -1, 1.5, 1e30, 100.0, "100", True, [], {}, 10**9, 10**30, -(2**63) - 1]
        for cap in ("max_tokens", "max_completion_tokens")
    },
}
FIELDS = [
    Case(
        f"{name} {str(value)[:30] if value is not NOTHING else 'missing'}", with_field(name, value)
    )
    for name, values in WRONG_TYPES.items()
    for value in values
]
NUMBERS = [
    Case(f"{name} {value.decode()}", raw_field(name, value))
    for name in ("max_tokens", "max_completion_tokens", "n")
    for value in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"0x10", b"01", b"+1", b"-0", b"1.")
]
NO_OBJECTS: list[object] = [1, "x", [], True]
STREAM_OPTIONS = [
    Case(f"stream_options {value}", compact({**GOOD, "stream": True, "stream_options": value}))
    for value in NO_OBJECTS
]
ROUTING = [
    Case(name, with_field(name, "http://evil.example/v1"))
    for name in ("api_base", "base_url", "api_key", "custom_llm_provider", "organization", "models")
]
TIERS = [
    Case(f"service_tier {tier}", with_field("service_tier", tier), "model_not_priced")
    for tier in ("priority", "flex", "batch", "AUTO", "x" * 300, "", 5, ["default"])
]
UNPRICED = [
    Case("web search", with_field("web_search_options", {}), "model_not_priced"),
    Case("best_of", with_field("best_of", 20), "model_not_priced"),
]
UNKNOWN = [
    Case("unknown model", with_field("model", "gpt-9"), "model_not_found", 404),
    Case("model in other case", with_field("model", "PLAIN"), "model_not_found", 404),
    Case("model with a space", with_field("model", "plain "), "model_not_found", 404),
]
GOOD_BODY = compact(GOOD)
ENCODED = [
    Case("broken gzip", b"\x1f\x8b" + b"x" * 50, headers=(("content-encoding", "gzip"),)),
    Case("gzip that is none", GOOD_BODY, headers=(("content-encoding", "gzip"),)),
    Case("half a gzip", gzip.compress(GOOD_BODY)[:-9], headers=(("content-encoding", "gzip"),)),
    Case("gzip and more", gzip.compress(GOOD_BODY) + b"x", headers=(("content-encoding", "gzip"),)),
    Case("broken deflate", b"xx", headers=(("content-encoding", "deflate"),)),
    Case("unsupported encoding", GOOD_BODY, headers=(("content-encoding", "br"),)),
    Case("two encodings", GOOD_BODY, headers=(("content-encoding", "gzip, gzip"),)),
    Case(
        "gzip bomb",
        bomb(300),
        status=413,
        headers=(("content-encoding", "gzip"),),
    ),
    Case("too large", GOOD_BODY + b" " * BODY_BYTES_MAX, status=413),
]
SPACED = [
    case._replace(name=f"{case.name}, spaced", body=case.body + b"\n  ")
    for case in MALFORMED + DUPLICATES
]
CASES = [
    *(MALFORMED + SPACED + DUPLICATES + FIELDS + NUMBERS + STREAM_OPTIONS),
    *(ROUTING + TIERS + UNPRICED + UNKNOWN + ENCODED),
]
