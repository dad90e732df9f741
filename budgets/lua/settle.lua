-- use: now meta scopes counters allotments resolve marks
-- Books the true cost in place of a reservation and gives the rest back.
-- INVARIANT: a reservation is charged once. After its expiry the truth replaces the charge, once;
-- a second settlement books nothing. The truth is booked even above what was reserved. What is not
-- known here is an event, once, and charges nothing.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, and the mark where there is one
-- ARGV  numbers, id, event, body
-- numbers: epoch, seq, usd, tokens, requests; -1 where the truth is unknown: charged as reserved
local epoch_known, seq_known, usd, tokens, requests = struct.unpack('<i8i8i8i8i8', ARGV[1])
local id, event, body = ARGV[2], ARGV[3], ARGV[4]
local truth = {usd, tokens, requests}

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local lease = call('HGET', KEYS[4], id)
local outcome, kind, booked, writes, reserved, _ = 'SETTLED', 'llm_response', nil, nil, nil, nil
if lease then
  booked, writes, _, _, reserved = book(lease, truth)
else
  local done = call('HGET', KEYS[6], id)
  if not done then
    if event ~= '' then
      note_unbooked(id, event, body)
      bury(KEYS[6], id, 'unbooked')
    end
    return {'UNKNOWN', seq}
  end
  if not is_expired(done) then return {'ALREADY', done} end
  outcome, kind = 'CORRECTED', 'correction'
  booked, writes, _, _, reserved = rebook(done, truth)
end
append_event(kind, id, event, booked, 0, 0, body)
write_counters(writes)
if lease then drop_lease(id) end
bury(KEYS[6], id, 'settled')
if KEYS[7] then
  local state = usd < 0 and 'unknown' or usd == 0 and tokens == 0 and '' or 'settled'
  end_mark(KEYS[7], id, state, usd < 0 and reserved or usd)
end
return {outcome, seq, time_ms}
