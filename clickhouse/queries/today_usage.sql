-- What each organisation's models did since midnight UTC. The inner sums are those of the projection
-- `daily_meters`.
SELECT org, model,
       sumIf(events, event_type != 'correction' AND usage_source != 'released') AS requests,
       sum(charged) AS charged_nusd
FROM
(
    SELECT org, model, event_type, usage_source, count() AS events, sum(charged_nusd) AS charged
    FROM comptroller.events
    WHERE toDate(time) = toDate(now('UTC')) AND event_type IN ('llm_response', 'reservation_expired', 'correction')
      AND ({org:String} = '' OR org = {org:String})
    GROUP BY org, model, event_type, usage_source
)
GROUP BY org, model
ORDER BY org, model
LIMIT {limit:UInt32}
