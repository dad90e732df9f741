-- The rollups with the meters of 0014, in place of those without them.
ALTER TABLE comptroller.events ${on_cluster}
    DROP PROJECTION IF EXISTS hourly,
    DROP PROJECTION IF EXISTS daily,
    ADD PROJECTION IF NOT EXISTS hourly_meters
    (
        SELECT toStartOfHour(time), org, event_type, project, workflow, agent, provider, model, usage_source,
               count(), sum(charged_nusd), sum(reserved_nusd), sum(text_input), sum(cached_input),
               sum(cache_write_5m), sum(cache_write_1h), sum(audio_input), sum(image_input), sum(text_output),
               sum(reasoning_output), sum(audio_output), sum(tool_calls), sum(overrun), sum(duration_ms),
               sum(video_input), sum(image_output), sum(search_calls), sum(audio_ms), sum(pages), sum(characters)
        GROUP BY toStartOfHour(time), org, event_type, project, workflow, agent, provider, model, usage_source
    ),
    ADD PROJECTION IF NOT EXISTS daily_meters
    (
        SELECT toDate(time), org, event_type, project, workflow, agent, provider, model, usage_source,
               count(), sum(charged_nusd), sum(reserved_nusd), sum(text_input), sum(cached_input),
               sum(cache_write_5m), sum(cache_write_1h), sum(audio_input), sum(image_input), sum(text_output),
               sum(reasoning_output), sum(audio_output), sum(tool_calls), sum(overrun), sum(duration_ms),
               sum(video_input), sum(image_output), sum(search_calls), sum(audio_ms), sum(pages), sum(characters)
        GROUP BY toDate(time), org, event_type, project, workflow, agent, provider, model, usage_source
    )
