-- The end of an organisation's chain: epoch, seq, hash, time in ms.
SELECT epoch, seq, hash, toUnixTimestamp64Milli(time)
FROM comptroller.events
WHERE org = {org:String} AND part = 0
ORDER BY org DESC, epoch DESC, seq DESC
LIMIT 1
