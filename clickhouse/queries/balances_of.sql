-- The last balance of counters: field, spent, and up to when (ms) there was anything new of it.
SELECT field, argMax(spent, (epoch, seq)), toUnixTimestamp64Milli(max(time))
FROM comptroller.balances
WHERE org = {org:String} AND field IN {fields:Array(String)}
GROUP BY field
