-- What stands of scopes and keys: kind, name, text, since when (ms); cuts: see states_at.sql.
WITH
    (
        SELECT groupArray((toUInt32(name), toUInt32(splitByChar(' ', text)[1]), toUInt64(splitByChar(' ', text)[2])))
        FROM comptroller.states
        WHERE org = {org:String} AND kind = 'epoch'
    ) AS cuts
SELECT kind, name, argMax(text, (epoch, seq)), toUnixTimestamp64Milli(max(time))
FROM comptroller.states
WHERE org = {org:String}
  AND ((kind IN ('scope', 'policy') AND name IN {scopes:Array(String)}) OR (kind = 'key' AND name IN {keys:Array(String)}))
  AND NOT arrayExists(cut -> states.epoch < cut.1 AND (states.epoch, states.seq) > (cut.2, cut.3), cuts)
GROUP BY kind, name
