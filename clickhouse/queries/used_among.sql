-- Which of these scopes an event after a seq names.
SELECT DISTINCT scope
FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND seq > {after_seq:UInt64} AND scope IN {scopes:Array(String)}
