"""How the recorder works: its bounds and its patience, all in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """`batch_*` bound a batch, `linger_ms` is the wait for more events, `patience_ms` how long the
    records may be away before batches go to the disk spool and `drain_every_ms` how often they are
    then tried, `head_every_ms` how often the end of the chain is signed, `owner_lease_ms` after
    what silence another recorder takes over, `lease_ms` how long reservations live that come back
    from the records, `*_days` how many whole days are kept."""

    batch_events_max: int = 10_000
    batch_bytes_max: int = 16 * 2**20
    linger_ms: int = 250
    patience_ms: int = 5_000
    retry_ms: int = 500
    drain_every_ms: int = 2_000
    head_every_ms: int = 60_000
    owner_lease_ms: int = 30_000
    lease_ms: int = 60_000
    spool_bytes_max: int = 4 * 2**30
    compact_every_ms: int = 300_000
    events_days: int = 90
    bodies_days: int = 30
