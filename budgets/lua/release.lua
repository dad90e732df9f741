-- use: now meta scopes counters allotments resolve marks
-- Gives a reservation back whole: only for what provably never reached a provider.
-- INVARIANT: nothing is charged, and an unknown id leaves a tombstone, so that a reserve that was
-- given up but is still on its way finds itself resolved. What had expired meanwhile is given back.
-- An event tells that the reservation had been granted: then an unknown id is one, too.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, and the mark where there is one
-- ARGV  numbers (epoch, seq), id, event
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local id, event = ARGV[2], ARGV[3]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local lease = call('HGET', KEYS[4], id)
local done = not lease and call('HGET', KEYS[6], id)
local nothing = {0, 0, 0}
local kind, booked, writes, request, output, usd = 'llm_response', nil, nil, nil, nil, nil
if lease then
  booked, writes, request, output, usd = book(lease, nothing)
elseif not done then
  if event ~= '' then note_unbooked(id, event) end
  bury(KEYS[6], id, 'released')
  return {'RELEASED', seq, time_ms}
elseif is_expired(done) then
  kind = 'correction'
  booked, writes, request, output, usd = rebook(done, nothing)
else
  return {'ALREADY', done}
end
if event == '' then event = request else output, usd = 0, 0 end
append_event(kind, id, event, booked, output, usd)
write_counters(writes)
if lease then drop_lease(id) end
bury(KEYS[6], id, 'released')
if KEYS[7] then end_mark(KEYS[7], id, '', 0) end
return {'RELEASED', seq, time_ms}
