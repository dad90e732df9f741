"""From the ledger's outbox to ClickHouse: exactly once, in order, and provably unchanged since."""
