"""A batch: what is written to the records in one piece, and nothing else is.

Its bounds are fixed at the ledger before it is written, it never crosses a day (a partition), and
its bytes are a pure function of the outbox and of the hash before it. So whoever writes it, and
however often, writes the same block under the same token.
"""

from dataclasses import dataclass

from clickhouse.events import FIRST_COLUMNS


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of an organisation's chain: what the next one stands on."""

    epoch: int
    seq: int
    hash: str
    time_ms: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Events `first_seq` to `head.seq` of one epoch, as JSONCompactEachRow lines (derived rows
    among them), and their payloads as RowBinary rows of `bodies`. `payload_bytes` is what the
    ledger's payload stream gives back once they are confirmed; `bodies` has `body_count` rows.
    `states` are JSONCompactEachRow lines: what stands since which event (`state_count` lines).
    `column_count`: how many columns of the event are in each line of `events`."""

    organisation: str
    first_seq: int
    head: Head
    events: bytes
    bodies: bytes
    payload_bytes: int
    body_count: int = 0
    states: bytes = b""
    state_count: int = 0
    column_count: int = FIRST_COLUMNS

    @property
    def event_count(self) -> int:
        """How many events are in it; derived rows not counted."""
        return self.head.seq - self.first_seq + 1

    @property
    def token(self) -> str:
        """Names the batch for deduplication: the same for all who write it."""
        return f"{self.organisation}-{self.head.epoch}-{self.first_seq}-{self.head.seq}"
