-- The last minutes, newest first: calls that ended, refused calls, and what was charged.
SELECT formatDateTime(toStartOfMinute(time), '%H:%i', 'UTC') AS minute,
       countIf(event_type IN ('llm_response', 'reservation_expired') AND usage_source != 'released') AS requests,
       sumIf(JSONExtractUInt(detail, 'count'), event_type = 'budget_exceeded') AS refused,
       sumIf(charged_nusd, event_type IN ('llm_response', 'reservation_expired', 'correction')) AS charged_nusd
FROM comptroller.events
WHERE time >= now64(3) - INTERVAL {minutes:UInt16} MINUTE AND part = 0
  AND event_type IN ('llm_response', 'reservation_expired', 'correction', 'budget_exceeded')
GROUP BY toStartOfMinute(time)
ORDER BY toStartOfMinute(time) DESC
