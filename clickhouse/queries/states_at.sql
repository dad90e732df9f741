-- What stands at an event: kind, name, text; an empty text: gone.
SELECT kind, name, argMax(text, (epoch, seq)) AS stands
FROM comptroller.states
WHERE org = {org:String} AND (epoch, seq) <= ({epoch:UInt32}, {seq:UInt64})
GROUP BY kind, name
