-- The same by day, for long ranges.
CREATE VIEW IF NOT EXISTS comptroller.spend_daily ${on_cluster} AS
SELECT toDate(hour) AS day, org, event_type, project, workflow, agent, provider, model, usage_source,
       sum(events) AS events, sum(charged_nusd) AS charged_nusd, sum(reserved_nusd) AS reserved_nusd,
       sum(text_input) AS text_input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
       sum(cache_write_1h) AS cache_write_1h, sum(audio_input) AS audio_input, sum(image_input) AS image_input,
       sum(text_output) AS text_output, sum(reasoning_output) AS reasoning_output,
       sum(audio_output) AS audio_output, sum(tool_calls) AS tool_calls, sum(overruns) AS overruns,
       sum(duration_ms) AS duration_ms
FROM comptroller.hours FINAL
GROUP BY day, org, event_type, project, workflow, agent, provider, model, usage_source
UNION ALL
SELECT toDate(time) AS day, org, event_type, project, workflow, agent, provider, model, usage_source,
       count() AS events, sum(charged_nusd) AS charged_nusd, sum(reserved_nusd) AS reserved_nusd,
       sum(text_input) AS text_input, sum(cached_input) AS cached_input, sum(cache_write_5m) AS cache_write_5m,
       sum(cache_write_1h) AS cache_write_1h, sum(audio_input) AS audio_input, sum(image_input) AS image_input,
       sum(text_output) AS text_output, sum(reasoning_output) AS reasoning_output,
       sum(audio_output) AS audio_output, sum(tool_calls) AS tool_calls, sum(overrun) AS overruns,
       sum(duration_ms) AS duration_ms
FROM comptroller.events
WHERE toDate(time) >= (SELECT toDate(addDays(toStartOfDay(max(hour)), 1)) FROM comptroller.hours)
GROUP BY day, org, event_type, project, workflow, agent, provider, model, usage_source
