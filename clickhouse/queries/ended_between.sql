-- The requests that have ended between two events, all in one row.
SELECT groupArray(request_id)
FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND event_type IN ('llm_response', 'reservation_expired')
  AND epoch >= {after_epoch:UInt32} AND (epoch > {after_epoch:UInt32} OR seq > {after_seq:UInt64})
  AND epoch <= {epoch:UInt32} AND (epoch < {epoch:UInt32} OR seq <= {seq:UInt64})
