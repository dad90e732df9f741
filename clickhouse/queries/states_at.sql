-- What stands at an event: kind, name, text (empty: gone), since when in ms. An epoch's end is told by
-- the one after it (kind `epoch`: last epoch and seq): what is behind an end came to nothing.
WITH
    (
        SELECT groupArray((toUInt32(name), toUInt32(splitByChar(' ', text)[1]), toUInt64(splitByChar(' ', text)[2])))
        FROM comptroller.states
        WHERE org = {org:String} AND kind = 'epoch'
    ) AS cuts
SELECT kind, name, argMax(text, (epoch, seq)) AS stands, max(toUnixTimestamp64Milli(time)) AS since_ms
FROM comptroller.states
WHERE org = {org:String} AND (epoch, seq) <= ({epoch:UInt32}, {seq:UInt64})
  AND NOT arrayExists(cut -> epoch < cut.1 AND (epoch, seq) > (cut.2, cut.3), cuts)
GROUP BY kind, name
