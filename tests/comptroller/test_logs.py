"""Logs: every line is JSON whatever is said, and no file grows without end."""

import io
import json
import logging
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from comptroller.logs import (
    LOG_BYTES_MAX,
    MESSAGE_CHARS_MAX,
    JsonLines,
    last_words,
    opened,
    shorten,
)

HOSTILE = [
    "two\nlines\r\nand\rmore",
    '"},\n{"level": "error"',
    "lone \ud800 surrogates \udcff",
    "line\u2028 and paragraph\u2029 ends, \x85 \x0b \x0c",
    "\x00\x1b[2J\x7f",
    "\u00e9 \u20ac \U0001f600",
    "%s %d {} \\",
    "x" * (4 * MESSAGE_CHARS_MAX),
    "",
]


def logged(encoding: str, say: Callable[[logging.Logger], None]) -> bytes:
    """What is written when `say` logs to a stream of that encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("gateway"))
    logger = logging.Logger("of.the.test")
    logger.addHandler(handler)
    say(logger)
    stream.detach()
    return raw.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_line_is_json_whatever_is_said(encoding: str) -> None:
    """Newlines, quotes, lone surrogates, control characters, huge texts, on a stream of any
    encoding: one valid line each, and what was said is in it, up to its bound."""

    def say(logger: logging.Logger) -> None:
        for each in HOSTILE:
            logger.warning("%s", each)

    lines = logged(encoding, say).decode("utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines] == [
        each[:MESSAGE_CHARS_MAX] for each in HOSTILE
    ]
    entry = json.loads(lines[0])
    assert (entry["level"], entry["part"], entry["logger"]) == ("warning", "gateway", "of.the.test")
    assert entry["time"].endswith("Z")


def test_a_traceback_is_in_its_line() -> None:
    """In one line, and of a long one the end, which says what happened."""

    def say(logger: logging.Logger) -> None:
        nothing: dict[str, int] = {}
        try:
            nothing["y" * (2 * MESSAGE_CHARS_MAX) + " the\nreason"]
        except KeyError:
            logger.exception("it failed")

    (line,) = logged("utf-8", say).splitlines()
    entry = json.loads(line)
    assert entry["message"] == "it failed"
    assert entry["traceback"].endswith(r"the\nreason'")
    assert len(entry["traceback"]) <= MESSAGE_CHARS_MAX


def test_a_long_log_is_shortened_to_its_newest_lines(tmp_path: Path) -> None:
    """However long it has become: what is kept is bounded, whole lines, the newest; its writer goes
    on in the same file; both are for the owner's eyes only."""
    path = tmp_path / "part.log"
    with opened(path) as log:
        for n in range(3 * LOG_BYTES_MAX // 1000):
            log.write(b'{"n": 1%08d, "x": "%s"}\n' % (n, b"x" * 980))
        log.flush()
        shorten(tmp_path)
        assert path.stat().st_size == 0
        earlier = tmp_path / "part.log.1"
        assert LOG_BYTES_MAX - 2000 < earlier.stat().st_size <= LOG_BYTES_MAX
        lines = earlier.read_bytes().splitlines()
        assert json.loads(lines[-1])["n"] == 10**8 + n
        found = [json.loads(line)["n"] - 10**8 for line in lines]
        assert found == list(range(n - len(lines) + 1, n + 1))
        log.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    for file in (path, earlier):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    """And what was kept earlier is replaced, not added to, by the next shortening."""
    path = tmp_path / "part.log"
    path.write_bytes(b"x" * LOG_BYTES_MAX)
    shorten(tmp_path)
    assert path.stat().st_size == LOG_BYTES_MAX
    for _ in range(2):
        path.write_bytes((b"x" * 99 + b"\n") * (LOG_BYTES_MAX // 100 + 2))
        shorten(tmp_path)
        assert (tmp_path / "part.log.1").stat().st_size <= LOG_BYTES_MAX
    assert sorted(each.name for each in tmp_path.iterdir()) == ["part.log", "part.log.1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it said nothing"),
        ("one\ntwo\n", "two"),
        ("one\ncomptroller: it cannot\n\n", "it cannot"),
        ('{"message": "said\\nso"}\n', "said\nso"),
        ('{"other": 1}\n', '{"other": 1}'),
        ("17\n", "17"),
        ("x" * 200_000 + "\nlast\n", "last"),
    ],
)
def test_last_words(tmp_path: Path, text: str, words: str) -> None:
    """The last line as a person would say it, also of JSON, of nothing, of a huge log."""
    path = tmp_path / "part.log"
    path.write_text(text)
    assert last_words(path) == words


def test_last_words_are_those_of_this_life(tmp_path: Path) -> None:
    """What an earlier process has said is not put into the mouth of one that said nothing; a log
    that was emptied meanwhile is read from its begin."""
    path = tmp_path / "part.log"
    path.write_text("of an earlier one\n")
    with opened(path) as log:
        since = log.tell()
    assert since == path.stat().st_size
    assert last_words(path, since) == "it said nothing"
    path.write_text("anew\n")
    assert last_words(path, since) == "anew"


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    """The last words of a C library may be anything."""
    path = tmp_path / "part.log"
    path.write_bytes(b"\xff\xfe bad\n")
    assert last_words(path).endswith(" bad")
