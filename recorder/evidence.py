"""A log as evidence: one file that a third party checks without us, our database or our code.

JSON lines: first what it is, then the signed heads, then each event as its hash and the very bytes
that the hash covers: an array of `columns`, of which it has at least the first `columns_least`.
`verify_evidence.py` checks it with Python's standard library alone.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from clickhouse.events import COLUMNS, FIRST_COLUMNS
from recorder.heads import SignedHead
from recorder.verification import read_row

FORMAT = "comptroller-evidence-1"


class Output(Protocol):
    """A binary file, or what takes its place."""

    def write(self, content: bytes, /) -> object:
        """Takes all of it."""


def write_evidence(
    out: Output,
    organisation: str,
    public_key_hex: str,
    heads: Sequence[SignedHead],
    rows: Iterable[bytes],
) -> int:
    """Writes the file, row by row, and returns how many events are in it.

    `rows` are lines of `chain.sql`, from the beginning of the log or from the event after a signed
    head; `heads` are that one and those up to the last row (a later one says that events are
    missing, which is then true of the file). Nothing is verified: what is wrong stays wrong. Raises
    RowUnreadable for a row that no event makes."""
    about = {
        "format": FORMAT,
        "organisation": organisation,
        "public_key": public_key_hex,
        "columns": COLUMNS,
        "columns_least": FIRST_COLUMNS,
    }
    out.write(_line(about))
    for each in heads:
        out.write(_line({"head": _head(each)}))
    count = 0
    for line in filter(bytes.strip, rows):
        row = read_row(line)
        out.write(b'["%b",%b]\n' % (row.hash.encode(), row.text))
        count += 1
    return count


def _head(signed: SignedHead) -> dict[str, object]:
    head = signed.head
    return {
        "organisation": signed.organisation,
        "epoch": head.epoch,
        "seq": head.seq,
        "hash": head.hash,
        "time_ms": head.time_ms,
        "key": signed.key,
        "signature": signed.signature,
    }


def _line(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
