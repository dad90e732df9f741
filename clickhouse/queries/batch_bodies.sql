-- How many payloads of a batch are there; one that was written twice counts once.
SELECT uniqExact(seq)
FROM comptroller.bodies
WHERE org = {org:String} AND epoch = {epoch:UInt32} AND seq BETWEEN {first:UInt64} AND {last:UInt64}
