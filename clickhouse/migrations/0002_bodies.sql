-- Payloads, beside the log: bigger, and kept for a shorter time. Written before the event that they
-- belong to; what a retry writes twice is one row again (same key, same content).
CREATE TABLE IF NOT EXISTS comptroller.bodies ${on_cluster}
(
    org        LowCardinality(String)                CODEC(ZSTD(1)),
    epoch      UInt32                                CODEC(ZSTD(1)),
    seq        UInt64                                CODEC(Delta, ZSTD(1)),
    time       DateTime64(3, 'UTC')                  CODEC(Delta, ZSTD(1)),
    request_id String                                CODEC(ZSTD(1)),
    kind       Enum8('request' = 1, 'response' = 2)  CODEC(ZSTD(1)),
    body       String                                CODEC(ZSTD(3))
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (org, epoch, seq)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
         index_granularity = 1024,
         fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
