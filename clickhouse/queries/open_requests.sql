-- Requests between two events that have not ended there, in order: the columns of
-- `recorder.openrequests` ($columns).
SELECT $columns
FROM comptroller.events
WHERE org = {org:String} AND part = 0 AND event_type = 'llm_request'
  AND epoch >= {after_epoch:UInt32} AND (epoch > {after_epoch:UInt32} OR seq > {after_seq:UInt64})
  AND epoch <= {epoch:UInt32} AND (epoch < {epoch:UInt32} OR seq <= {seq:UInt64})
  AND request_id NOT IN
  (
      SELECT request_id
      FROM comptroller.events
      WHERE org = {org:String} AND part = 0 AND event_type IN ('llm_response', 'reservation_expired')
        AND epoch >= {after_epoch:UInt32} AND (epoch > {after_epoch:UInt32} OR seq > {after_seq:UInt64})
        AND epoch <= {epoch:UInt32} AND (epoch < {epoch:UInt32} OR seq <= {seq:UInt64})
  )
ORDER BY org, epoch, seq, part
