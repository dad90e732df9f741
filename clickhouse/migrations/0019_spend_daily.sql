-- As 0006, with the meters of 0014.
CREATE OR REPLACE VIEW comptroller.spend_daily ${on_cluster} AS
SELECT toDate(hour) AS day, org, event_type, project, workflow, agent, provider, model, usage_source,
       sum(events) AS events, sum(charged_nusd) AS charged_nusd, sum(reserved_nusd) AS reserved_nusd,
       sum(text_input) AS text_input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
       sum(cache_write_1h) AS cache_write_1h, sum(audio_input) AS audio_input, sum(image_input) AS image_input,
       sum(text_output) AS text_output, sum(reasoning_output) AS reasoning_output,
       sum(audio_output) AS audio_output, sum(tool_calls) AS tool_calls, sum(overruns) AS overruns,
       sum(duration_ms) AS duration_ms,
       sum(video_input) AS video_input, sum(image_output) AS image_output, sum(search_calls) AS search_calls,
       sum(audio_ms) AS audio_ms, sum(pages) AS pages, sum(characters) AS characters
FROM comptroller.hours FINAL
GROUP BY day, org, event_type, project, workflow, agent, provider, model, usage_source
UNION ALL
SELECT toDate(time) AS day, org, event_type, project, workflow, agent, provider, model, usage_source,
       count() AS events, sum(charged_nusd) AS charged_nusd, sum(reserved_nusd) AS reserved_nusd,
       sum(text_input) AS text_input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
       sum(cache_write_1h) AS cache_write_1h, sum(audio_input) AS audio_input, sum(image_input) AS image_input,
       sum(text_output) AS text_output, sum(reasoning_output) AS reasoning_output,
       sum(audio_output) AS audio_output, sum(tool_calls) AS tool_calls, sum(overrun) AS overruns,
       sum(duration_ms) AS duration_ms,
       sum(video_input) AS video_input, sum(image_output) AS image_output, sum(search_calls) AS search_calls,
       sum(audio_ms) AS audio_ms, sum(pages) AS pages, sum(characters) AS characters
FROM comptroller.events
WHERE toDate(time) >= (SELECT toDate(addDays(toStartOfDay(max(hour)), 1)) FROM comptroller.hours)
GROUP BY day, org, event_type, project, workflow, agent, provider, model, usage_source
