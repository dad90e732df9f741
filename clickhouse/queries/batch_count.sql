-- How many events of a batch are there: none, all, or something went wrong.
SELECT count()
FROM comptroller.events
WHERE org = {org:String} AND epoch = {epoch:UInt32} AND seq BETWEEN {first:UInt64} AND {last:UInt64} AND part = 0
