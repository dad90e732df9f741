-- What ended or corrected something, or was refused, since a time: id, type, the columns that a late truth needs:
-- counters, output tokens, reserved nano-dollars; in order.
SELECT request_id, event_type, if(event_type = 'reservation_expired', counters, []), output_tokens_max, reserved_nusd
FROM comptroller.events
WHERE org = {org:String} AND part = 0
  AND event_type NOT IN ('llm_request', 'settlement_unbooked')
  AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
ORDER BY org, epoch, seq, part
