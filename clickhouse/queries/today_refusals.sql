-- Calls that budgets refused since midnight UTC: an event counts those of one second.
SELECT org, model_requested AS model, sum(greatest(1, JSONExtractUInt(detail, 'count'))) AS refusals
FROM comptroller.events
WHERE toDate(time) = toDate(now('UTC')) AND event_type = 'budget_exceeded'
  AND ({org:String} = '' OR org = {org:String})
GROUP BY org, model
ORDER BY org, model
LIMIT {limit:UInt32}
