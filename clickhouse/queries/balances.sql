-- What counters come to, by all events from a time on: field, dimension, spent.
SELECT counter.field AS field, counter.dimension AS dimension, sum(counter.charged) AS spent
FROM comptroller.events
ARRAY JOIN counters AS counter
WHERE org = {org:String} AND part = 0
  AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND event_type != 'llm_request'
  AND has({fields:Array(String)}, field)
GROUP BY field, dimension
