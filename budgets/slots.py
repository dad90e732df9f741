"""An organisation's keys in Redis, all in one hash slot, and what this process knows of its head.

Names: `{org}:ledger` (head, scopes, counters), `:outbox`, `:bodies`, `:leases`, `:expiry`,
`:policies`, `:keys`, `:recorder`, `:allotments` and `:allotments:expiry` (those that are open, by
scope and by time), `:done:<n>`, tombstones by ten minutes of the id's own time, and
`:idempotency:<name>`, marks of requests that their clients have named; `:minted:<key>` is named in
`budgets.places`.
"""

import asyncio

DONE_BUCKET_MS = 600_000
NOT_LOOKED = -1
"""No transport's generation."""


class Slot:
    """Key names of one organisation, and the highest epoch and seq that this process has seen."""

    __slots__ = (
        "_done",
        "_prefix",
        "ahead_ms",
        "allotment_keys",
        "epoch",
        "generation",
        "keys",
        "keys_key",
        "opening",
        "organisation",
        "policies_key",
        "recorder_key",
        "seq",
    )

    def __init__(self, organisation: str) -> None:
        self.organisation = organisation
        self._prefix = f"{{{organisation}}}:"
        names = ("ledger", "outbox", "bodies", "leases", "expiry")
        self.keys = tuple((self._prefix + name).encode() for name in names)
        self.policies_key = f"{self._prefix}policies".encode()
        self.keys_key = f"{self._prefix}keys".encode()
        self.allotment_keys = tuple(
            (self._prefix + name).encode() for name in ("allotments", "allotments:expiry")
        )
        self.recorder_key = f"{self._prefix}recorder".encode()
        self.epoch = 0
        self.seq = 0
        self.opening: asyncio.Task[None] | None = None
        self.generation = NOT_LOOKED  # of the transport, when it was opened last
        self.ahead_ms = 0  # the ledger's clock less ours, from the last answer that told
        self._done: tuple[int, tuple[bytes, ...]] = (-1, ())

    def saw(self, epoch: int, seq: int) -> None:
        """Remembers a seq that the ledger gave us in this epoch; one of an earlier epoch says
        nothing about the present one."""
        if epoch == self.epoch:
            self.seq = max(self.seq, seq)

    def mark_key(self, name: str) -> bytes:
        """The mark of a request that its client has named."""
        return f"{self._prefix}idempotency:{name}".encode()

    def done_key(self, id_: str) -> bytes:
        """The tombstones among which this id is looked up."""
        return self.keys_done(id_)[-1]

    def keys_done(self, id_: str) -> tuple[bytes, ...]:
        """The five keys and the tombstones' key, built anew once every ten minutes."""
        bucket = int(id_[:12], 16) // DONE_BUCKET_MS
        if self._done[0] != bucket:
            self._done = (bucket, (*self.keys, f"{self._prefix}done:{bucket}".encode()))
        return self._done[1]
