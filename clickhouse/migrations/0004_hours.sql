-- Hourly sums of the days whose events were dropped; while the events are there, their projection
-- `hourly` is read instead. Written before a day's partition goes; written twice, it is the same row.
CREATE TABLE IF NOT EXISTS comptroller.hours ${on_cluster}
(
    hour             DateTime('UTC'),
    org              LowCardinality(String),
    event_type       LowCardinality(String),
    project          LowCardinality(String),
    workflow         LowCardinality(String),
    agent            LowCardinality(String),
    provider         LowCardinality(String),
    model            LowCardinality(String),
    usage_source     LowCardinality(String),
    events           UInt64,
    charged_nusd     Int64,
    reserved_nusd    Int64,
    text_input       UInt64,
    cached_input     UInt64,
    cache_write_5m   UInt64,
    cache_write_1h   UInt64,
    audio_input      UInt64,
    image_input      UInt64,
    text_output      UInt64,
    reasoning_output UInt64,
    audio_output     UInt64,
    tool_calls       UInt64,
    overruns         UInt64,
    duration_ms      UInt64
)
ENGINE = ${replicated}ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (org, hour, event_type, project, workflow, agent, provider, model, usage_source)
SETTINGS fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
