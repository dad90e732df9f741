-- The sums of dropped days have the meters of 0014, too.
ALTER TABLE comptroller.hours ${on_cluster}
    ADD COLUMN IF NOT EXISTS video_input UInt64,
    ADD COLUMN IF NOT EXISTS image_output UInt64,
    ADD COLUMN IF NOT EXISTS search_calls UInt64,
    ADD COLUMN IF NOT EXISTS audio_ms UInt64,
    ADD COLUMN IF NOT EXISTS pages UInt64,
    ADD COLUMN IF NOT EXISTS characters UInt64
