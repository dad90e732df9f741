-- What stands at an event: kind, name, text (empty: gone), since when in ms.
SELECT kind, name, argMax(text, (epoch, seq)) AS stands, max(toUnixTimestamp64Milli(time)) AS since_ms
FROM comptroller.states
WHERE org = {org:String} AND (epoch, seq) <= ({epoch:UInt32}, {seq:UInt64})
GROUP BY kind, name
