-- An organisation's events after one that was seen.
SELECT time, event_type, org, scope, agent, key_id, request_id, provider, model, status, tool_name,
       reserved_nusd, charged_nusd, usage_source, error, epoch, seq, part
FROM comptroller.events
WHERE org = {org:String} AND epoch >= {epoch:UInt32} AND (epoch > {epoch:UInt32} OR seq > {seq:UInt64})
ORDER BY org, epoch, seq, part
LIMIT {limit:UInt32}
