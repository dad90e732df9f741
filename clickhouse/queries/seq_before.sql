-- The last event up to a time: its seq.
SELECT seq
FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND time <= fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
ORDER BY org DESC, epoch DESC, seq DESC
LIMIT 1
