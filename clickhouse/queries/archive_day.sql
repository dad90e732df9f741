-- The hourly sums of a day, from its events to `hours`, before that day's events go.
INSERT INTO comptroller.hours
SELECT toStartOfHour(time) AS hour, org, event_type, project, workflow, agent, provider, model, usage_source,
       count(), sum(charged_nusd), sum(reserved_nusd), sum(text_input), sum(cached_input), sum(cache_write_5m),
       sum(cache_write_1h), sum(audio_input), sum(image_input), sum(text_output), sum(reasoning_output),
       sum(audio_output), sum(tool_calls), sum(overrun), sum(duration_ms), sum(video_input), sum(image_output),
       sum(search_calls), sum(audio_ms), sum(pages), sum(characters)
FROM comptroller.events
WHERE toYYYYMMDD(time) = $day
GROUP BY hour, org, event_type, project, workflow, agent, provider, model, usage_source
