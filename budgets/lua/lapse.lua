-- use: now meta scopes counters allotments closing
-- Closes allotments whose time has passed, and looks again at those that are closing.
-- INVARIANT: only one whose time has passed by the ledger's own clock is closed, and what is below it.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done (unused), allotments by scope, by expiry
-- ARGV  numbers (epoch, seq, limit)
-- Answers LAPSED and how many were looked at.
local epoch_known, seq_known, limit = struct.unpack('<i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local due = call('ZRANGEBYSCORE', KEYS[8], '-inf', string.format('%.0f', time_ms), 'LIMIT', 0, limit)
for i = 1, #due do
  local id = due[i]
  local record = allotment_books({}).record(id)
  if not record then
    call('ZREM', KEYS[8], id)
  elseif call('HGET', KEYS[1], 'o:' .. record.scope) == id then
    close_allotments(record.scope, '')
  else
    close_one(record.scope, id, '')
  end
end
return {'LAPSED', #due}
