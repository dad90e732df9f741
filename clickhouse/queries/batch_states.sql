-- How many states of a batch are there; one that was written twice counts once.
SELECT uniqExact(kind, name, seq)
FROM comptroller.states
WHERE org = {org:String} AND epoch = {epoch:UInt32} AND seq BETWEEN {first:UInt64} AND {last:UInt64}
