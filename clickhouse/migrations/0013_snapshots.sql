-- Up to where an organisation's `balances` have been added up, and the requests that were open then
-- (canonical texts of their events). One row for each organisation counts: the one of the highest
-- place, (epoch, seq) in one number. Never expires; events may go only once a snapshot has them.
CREATE TABLE IF NOT EXISTS comptroller.snapshots ${on_cluster}
(
    org     LowCardinality(String),
    place   UInt64,
    epoch   UInt32,
    seq     UInt64,
    time_ms Int64 EPHEMERAL,
    time    DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(time_ms, 'UTC'),
    open    Array(String) CODEC(ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree(place)
ORDER BY org
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
         fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
