-- What no sum of counters tells, as it stands since an event: the records of scopes (`scope`: state,
-- version, fence), their policies (`policy`), keys by id (`key`), allotments (`allotment`); an empty
-- text: gone. A ledger that is lost comes back from here and from `balances`. Never expires; readers
-- do not see it, because of the hashes by which secrets are found.
CREATE TABLE IF NOT EXISTS comptroller.states ${on_cluster}
(
    org     LowCardinality(String),
    kind    LowCardinality(String),
    name    String,
    epoch   UInt32,
    seq     UInt64,
    time_ms Int64 EPHEMERAL,
    time    DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(time_ms, 'UTC'),
    text    String CODEC(ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (org, kind, name, epoch, seq)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
         fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
