-- What counters come to, by all events from a time on: field, dimension, spent.
SELECT counter.1 AS field, counter.2 AS dimension, sum(counter.4) AS spent
FROM comptroller.events
ARRAY JOIN counters AS counter
WHERE org = {org:String} AND part = 0
  AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND event_type != 'llm_request'
  AND has({fields:Array(String)}, field)
GROUP BY field, dimension
