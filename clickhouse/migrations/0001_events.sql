-- The log: one row per event, append-only. Columns `org` to `detail` are what the chain covers, in
-- the order of `clickhouse.events.EventRow`; those before are its hash and what was derived.
-- Rollups are projections of the table itself: a part and its sums are one, so that no crash, retry
-- or deduplication can make them differ (a materialized view can be written without its source).
-- They leave out scope and key: with a scope for each run they would be as long as the log.
CREATE TABLE IF NOT EXISTS comptroller.events ${on_cluster}
(
    hash                String                 CODEC(ZSTD(1)),
    prev_hash           String                 CODEC(ZSTD(1)),
    part                UInt16                 CODEC(ZSTD(1)),
    tool_name           LowCardinality(String) CODEC(ZSTD(1)),
    tool_call_id        String                 CODEC(ZSTD(1)),
    tool_state          LowCardinality(String) CODEC(ZSTD(1)),
    tool_bytes          UInt64                 CODEC(ZSTD(1)),
    tool_sha256         String                 CODEC(ZSTD(1)),
    org                 LowCardinality(String) CODEC(ZSTD(1)),
    epoch               UInt32                 CODEC(ZSTD(1)),
    seq                 UInt64                 CODEC(Delta, ZSTD(1)),
    time_ms             Int64                  EPHEMERAL,
    time                DateTime64(3, 'UTC')   DEFAULT fromUnixTimestamp64Milli(time_ms, 'UTC') CODEC(Delta, ZSTD(1)),
    event_type          LowCardinality(String) CODEC(ZSTD(1)),
    request_id          String                 CODEC(ZSTD(1)),
    correlation_id      String                 CODEC(ZSTD(1)),
    scope               String                 CODEC(ZSTD(1)),
    project             LowCardinality(String) CODEC(ZSTD(1)),
    workflow            LowCardinality(String) CODEC(ZSTD(1)),
    workflow_version    UInt32                 CODEC(ZSTD(1)),
    run_id              String                 CODEC(ZSTD(1)),
    step_id             LowCardinality(String) CODEC(ZSTD(1)),
    attempt             UInt32                 CODEC(ZSTD(1)),
    agent               LowCardinality(String) CODEC(ZSTD(1)),
    key_id              String                 CODEC(ZSTD(1)),
    triggered_by        String                 CODEC(ZSTD(1)),
    by                  LowCardinality(String) CODEC(ZSTD(1)),
    endpoint            LowCardinality(String) CODEC(ZSTD(1)),
    provider            LowCardinality(String) CODEC(ZSTD(1)),
    model_requested     LowCardinality(String) CODEC(ZSTD(1)),
    model               LowCardinality(String) CODEC(ZSTD(1)),
    model_served        LowCardinality(String) CODEC(ZSTD(1)),
    streamed            UInt8                  CODEC(ZSTD(1)),
    status              UInt16                 CODEC(ZSTD(1)),
    finish_reason       LowCardinality(String) CODEC(ZSTD(1)),
    error               String                 CODEC(ZSTD(1)),
    text_input          UInt64                 CODEC(ZSTD(1)),
    cached_input        UInt64                 CODEC(ZSTD(1)),
    cache_write_5m      UInt64                 CODEC(ZSTD(1)),
    cache_write_1h      UInt64                 CODEC(ZSTD(1)),
    audio_input         UInt64                 CODEC(ZSTD(1)),
    image_input         UInt64                 CODEC(ZSTD(1)),
    text_output         UInt64                 CODEC(ZSTD(1)),
    reasoning_output    UInt64                 CODEC(ZSTD(1)),
    audio_output        UInt64                 CODEC(ZSTD(1)),
    tool_calls          UInt64                 CODEC(ZSTD(1)),
    input_tokens_max    UInt64                 CODEC(ZSTD(1)),
    output_cap_asked    UInt64                 CODEC(ZSTD(1)),
    output_tokens_max   UInt64                 CODEC(ZSTD(1)),
    reserved_nusd       Int64                  CODEC(ZSTD(1)),
    charged_nusd        Int64                  CODEC(ZSTD(1)),
    price_version       LowCardinality(String) CODEC(ZSTD(1)),
    usage_source        LowCardinality(String) CODEC(ZSTD(1)),
    overrun             UInt8                  CODEC(ZSTD(1)),
    waited_ms           UInt64                 CODEC(ZSTD(1)),
    first_byte_ms       UInt64                 CODEC(ZSTD(1)),
    duration_ms         UInt64                 CODEC(ZSTD(1)),
    overhead_us         UInt64                 CODEC(ZSTD(1)),
    request_bytes       UInt64                 CODEC(ZSTD(1)),
    response_bytes      UInt64                 CODEC(ZSTD(1)),
    request_sha256      String                 CODEC(ZSTD(1)),
    response_sha256     String                 CODEC(ZSTD(1)),
    payload_state       LowCardinality(String) CODEC(ZSTD(1)),
    trace_id            String                 CODEC(ZSTD(1)),
    -- counter, dimension (1 usd, 2 tokens, 3 requests, 4 concurrency), reserved or given back, charged
    counters            Array(Tuple(String, UInt8, Int64, Int64)) CODEC(ZSTD(1)),
    detail              String                 CODEC(ZSTD(1)),

    INDEX by_request request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_run run_id TYPE bloom_filter(0.01) GRANULARITY 1,

    PROJECTION by_workflow
    (
        SELECT org, epoch, seq, part, time, event_type, request_id, scope, project, workflow, run_id, step_id,
               attempt, agent, key_id, provider, model, status, text_input, cached_input, text_output,
               reasoning_output, reserved_nusd, charged_nusd, usage_source, overrun, duration_ms, tool_name
        ORDER BY workflow, time
    ),
    PROJECTION by_agent
    (
        SELECT org, epoch, seq, part, time, event_type, request_id, scope, project, workflow, run_id, step_id,
               attempt, agent, key_id, provider, model, status, text_input, cached_input, text_output,
               reasoning_output, reserved_nusd, charged_nusd, usage_source, overrun, duration_ms, tool_name
        ORDER BY agent, time
    ),
    PROJECTION hourly
    (
        SELECT toStartOfHour(time), org, event_type, project, workflow, agent, provider, model, usage_source,
               count(), sum(charged_nusd), sum(reserved_nusd), sum(text_input), sum(cached_input),
               sum(cache_write_5m), sum(cache_write_1h), sum(audio_input), sum(image_input), sum(text_output),
               sum(reasoning_output), sum(audio_output), sum(tool_calls), sum(overrun), sum(duration_ms)
        GROUP BY toStartOfHour(time), org, event_type, project, workflow, agent, provider, model, usage_source
    ),
    PROJECTION daily
    (
        SELECT toDate(time), org, event_type, project, workflow, agent, provider, model, usage_source,
               count(), sum(charged_nusd), sum(reserved_nusd), sum(text_input), sum(cached_input),
               sum(cache_write_5m), sum(cache_write_1h), sum(audio_input), sum(image_input), sum(text_output),
               sum(reasoning_output), sum(audio_output), sum(tool_calls), sum(overrun), sum(duration_ms)
        GROUP BY toDate(time), org, event_type, project, workflow, agent, provider, model, usage_source
    )
)
ENGINE = ${replicated}MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (org, epoch, seq, part)
SETTINGS non_replicated_deduplication_window = 10000, replicated_deduplication_window = 10000,
         fsync_after_insert = ${fsync}, fsync_part_directory = ${fsync}
