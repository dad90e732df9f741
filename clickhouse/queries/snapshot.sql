-- The last snapshot of an organisation: epoch, seq, the requests that were open then.
SELECT epoch, seq, open
FROM comptroller.snapshots
WHERE org = {org:String}
ORDER BY place DESC
LIMIT 1
