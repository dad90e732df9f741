-- Workflows: calls, tokens and cost, by project.
SELECT s.org AS organisation, s.project AS project, s.workflow AS workflow,
       sumIf(s.events, s.event_type != 'correction' AND s.usage_source != 'released') AS requests,
       sum(s.text_input + s.cached_input + s.cache_write_5m + s.cache_write_1h + s.audio_input
           + s.image_input + s.video_input) AS input_tokens,
       sum(s.text_output + s.reasoning_output + s.audio_output + s.image_output) AS output_tokens,
       toString(CAST(sum(s.charged_nusd) AS Decimal(38, 9)) / 1000000000) AS usd
FROM comptroller.spend_hourly AS s
WHERE s.event_type IN ('llm_response', 'reservation_expired', 'correction')
  AND s.hour >= toStartOfHour({since:DateTime('UTC')})
GROUP BY organisation, project, workflow
ORDER BY sum(s.charged_nusd) DESC, organisation, project, workflow
LIMIT 1000
