-- Up to where the balances of an organisation have been added up: seq, epoch.
SELECT seq, epoch
FROM comptroller.snapshots
WHERE org = {org:String}
ORDER BY place DESC
LIMIT 1
