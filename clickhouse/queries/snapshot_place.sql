-- Up to which seq the balances of an organisation have been added up.
SELECT seq
FROM comptroller.snapshots
WHERE org = {org:String}
ORDER BY place DESC
LIMIT 1
