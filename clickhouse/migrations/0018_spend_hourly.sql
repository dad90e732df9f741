-- As 0005, with the meters of 0014.
CREATE OR REPLACE VIEW comptroller.spend_hourly ${on_cluster} AS
SELECT hour, org, event_type, project, workflow, agent, provider, model, usage_source,
       events, charged_nusd, reserved_nusd, text_input, cached_input, cache_write_5m, cache_write_1h,
       audio_input, image_input, text_output, reasoning_output, audio_output, tool_calls, overruns, duration_ms,
       video_input, image_output, search_calls, audio_ms, pages, characters
FROM comptroller.hours FINAL
UNION ALL
SELECT toStartOfHour(time) AS hour, org, event_type, project, workflow, agent, provider, model, usage_source,
       count() AS events, sum(charged_nusd) AS charged_nusd, sum(reserved_nusd) AS reserved_nusd,
       sum(text_input) AS text_input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
       sum(cache_write_1h) AS cache_write_1h, sum(audio_input) AS audio_input, sum(image_input) AS image_input,
       sum(text_output) AS text_output, sum(reasoning_output) AS reasoning_output,
       sum(audio_output) AS audio_output, sum(tool_calls) AS tool_calls, sum(overrun) AS overruns,
       sum(duration_ms) AS duration_ms,
       sum(video_input) AS video_input, sum(image_output) AS image_output, sum(search_calls) AS search_calls,
       sum(audio_ms) AS audio_ms, sum(pages) AS pages, sum(characters) AS characters
FROM comptroller.events
WHERE toStartOfHour(time) >= (SELECT addDays(toStartOfDay(max(hour)), 1) FROM comptroller.hours)
GROUP BY hour, org, event_type, project, workflow, agent, provider, model, usage_source
