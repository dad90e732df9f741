-- Whether anything stands of an organisation, however old its events are.
SELECT count() FROM
(
    SELECT 1 FROM comptroller.states WHERE org = {org:String} LIMIT 1
    UNION ALL
    SELECT 1 FROM comptroller.snapshots WHERE org = {org:String} LIMIT 1
    UNION ALL
    SELECT 1 FROM comptroller.balances WHERE org = {org:String} LIMIT 1
)
