-- use: now meta counters resolve
-- Gives a reservation back whole: only for what provably never reached a provider.
-- INVARIANT: nothing is charged, and an unknown id leaves a tombstone, so that a reserve that was
-- given up but is still on its way finds itself resolved. What had expired meanwhile is given back.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq), id, event
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local id, event = ARGV[2], ARGV[3]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local lease = call('HGET', KEYS[4], id)
local done = not lease and call('HGET', KEYS[6], id)
local nothing = {0, 0, 0}
local booked, writes
if lease then
  booked, writes = book(lease, nothing)
elseif not done then
  bury(KEYS[6], id, 'released')
  return {'RELEASED', seq, time_ms}
elseif string.sub(done, 1, 8) == 'expired:' then
  booked, writes = rebook(string.sub(done, 9), nothing)
else
  return {'ALREADY', done}
end
append_event('llm_response', id, event, booked, 0)
write_counters(writes)
if lease then drop_lease(id) end
bury(KEYS[6], id, 'released')
return {'RELEASED', seq, time_ms}
