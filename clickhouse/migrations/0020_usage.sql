-- As 0007, with the meters of 0014: tokens of video and of drawn images are tokens, too.
CREATE OR REPLACE VIEW comptroller.usage ${on_cluster} AS
SELECT day, org, project, workflow, agent, provider, model,
       sumIf(s.events, s.event_type != 'correction' AND s.usage_source != 'released') AS requests,
       sum(s.charged_nusd) AS charged_nusd,
       CAST(sum(s.charged_nusd) AS Decimal(38, 9)) / 1000000000 AS charged_usd,
       sum(s.text_input + s.cached_input + s.cache_write_5m + s.cache_write_1h + s.audio_input
           + s.image_input + s.video_input) AS input_tokens,
       sum(s.cached_input) AS cached_input_tokens,
       sum(s.text_output + s.reasoning_output + s.audio_output + s.image_output) AS output_tokens,
       sum(s.reasoning_output) AS reasoning_tokens,
       sum(s.tool_calls) AS tool_calls,
       sum(s.overruns) AS overruns,
       sum(s.search_calls) AS search_calls,
       sum(s.audio_ms) AS audio_ms,
       sum(s.pages) AS pages,
       sum(s.characters) AS characters
FROM comptroller.spend_daily AS s
WHERE event_type IN ('llm_response', 'reservation_expired', 'correction')
GROUP BY day, org, project, workflow, agent, provider, model
