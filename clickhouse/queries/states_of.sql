-- What stands of scopes and keys: kind, name, text, since when (ms).
SELECT kind, name, argMax(text, (epoch, seq)), toUnixTimestamp64Milli(max(time))
FROM comptroller.states
WHERE org = {org:String}
  AND ((kind IN ('scope', 'policy') AND name IN {scopes:Array(String)}) OR (kind = 'key' AND name IN {keys:Array(String)}))
GROUP BY kind, name
