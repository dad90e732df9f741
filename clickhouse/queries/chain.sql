-- A stretch of an organisation's chain after (epoch, seq): hash, hash before, and the columns of
-- `clickhouse.events.EventRow`, in order ($columns: `recorder.verification.CHAIN_COLUMNS`). The
-- condition is spelt out, because a comparison of tuples reads the whole key.
SELECT hash, prev_hash, $columns
FROM comptroller.events
WHERE org = {org:String} AND part = 0
  AND epoch >= {epoch:UInt32} AND (epoch > {epoch:UInt32} OR seq > {seq:UInt64})
ORDER BY org, epoch, seq, part
LIMIT {limit:UInt32}
