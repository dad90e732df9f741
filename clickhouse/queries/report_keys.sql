-- Keys: calls, refused calls, cost, and when each was last used.
SELECT org AS organisation, key_id AS key, anyLast(agent) AS agent,
       countIf(event_type IN ('llm_response', 'reservation_expired') AND usage_source != 'released') AS requests,
       sumIf(JSONExtractUInt(detail, 'count'), event_type = 'budget_exceeded') AS refused,
       toString(CAST(sumIf(charged_nusd, event_type IN ('llm_response', 'reservation_expired', 'correction'))
                     AS Decimal(38, 9)) / 1000000000) AS usd,
       formatDateTime(max(time), '%Y-%m-%d %H:%i:%SZ', 'UTC') AS last_used
FROM comptroller.events
WHERE time >= {since:DateTime('UTC')} AND part = 0 AND key_id != ''
  AND event_type IN ('llm_response', 'reservation_expired', 'correction', 'budget_exceeded')
GROUP BY organisation, key
ORDER BY sumIf(charged_nusd, event_type != 'budget_exceeded') DESC, organisation, key
LIMIT 1000
