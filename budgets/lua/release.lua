-- use: now meta counters resolve
-- Gives a reservation back whole: only for what provably never reached a provider.
-- INVARIANT: nothing is charged, and an unknown id leaves a tombstone, so that a reserve that was
-- given up but is still on its way finds itself resolved.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq), id, event
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local id, event = ARGV[2], ARGV[3]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local lease = call('HGET', KEYS[4], id)
if not lease then
  local done = call('HGET', KEYS[6], id)
  if done then return {'ALREADY', string.match(done, '^%a+')} end
  bury(KEYS[6], id, 'released')
  return {'RELEASED', seq, time_ms}
end
local booked, writes = book(lease, {0, 0, 0})
append_event('llm_response', id, event, booked, 0)
write_counters(writes)
drop_lease(id)
bury(KEYS[6], id, 'released')
return {'RELEASED', seq, time_ms}
