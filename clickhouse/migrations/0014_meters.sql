-- What an answer's price depends on beside its first meters. They follow `detail`: the text that the chain
-- covers leaves them out where they are empty at its end, so that the hashes of earlier events hold.
-- `reported_nusd`: what the provider says that it bills, and `computed_nusd` what the meters come to then.
ALTER TABLE comptroller.events ${on_cluster}
    ADD COLUMN IF NOT EXISTS video_input UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS image_output UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS search_calls UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS audio_ms UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS pages UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS characters UInt64 CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS service_tier LowCardinality(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS reported_nusd Nullable(Int64) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS computed_nusd Nullable(Int64) CODEC(ZSTD(1))
