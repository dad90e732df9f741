-- A stretch of an organisation's chain after (epoch, seq): hash, hash before, and the columns of
-- `clickhouse.events.EventRow`, in order.
SELECT hash, prev_hash, $columns
FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND (epoch, seq) > ({epoch:UInt32}, {seq:UInt64})
ORDER BY org, epoch, seq, part
LIMIT {limit:UInt32}
