-- What the ledger may forget once it stands here: the sum of a counter over all events up to
-- (epoch, seq). Later truth about a counter is an event, and a later row here. Never expires.
CREATE TABLE IF NOT EXISTS comptroller.balances ${on_cluster}
(
    org       LowCardinality(String),
    field     String,
    dimension UInt8,
    epoch     UInt32,
    seq       UInt64,
    time_ms   Int64 EPHEMERAL,
    time      DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(time_ms, 'UTC'),
    spent     Int64
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (org, field, dimension, epoch, seq)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
         fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
