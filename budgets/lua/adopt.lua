-- use: now meta counters resolve
-- Takes in a reservation that a worker was granted before the ledger was recovered and that neither
-- ledger nor records know: the money is on its way, whatever the limits say. Its event is written
-- again.
-- INVARIANT: an id that is known, open or ended, is not taken in twice; one that is older than what
-- tombstones tell may be, and is refused.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, and the mark where it has one
-- ARGV  numbers (epoch, seq, lease_ms, output, usd), id, fingerprint, event, counters (packed)
local epoch_known, seq_known, lease_ms, output, usd = struct.unpack('<i8i8i8i8i8', ARGV[1])
local id, fingerprint, event, counters = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[4], id) == 1 or call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
local ID_AGE_MS_MAX = 3600000 -- as in reserve.lua
local id_ms = tonumber(string.sub(id, 1, 12), 16)
if not id_ms or id_ms < time_ms - ID_AGE_MS_MAX then return {'TOO_OLD'} end
local touched, writes = cmsgpack.unpack(counters), {}
for i = 1, #touched, 3 do
  local spent, reserved, allotted = counter(call('HGET', KEYS[1], touched[i]))
  writes[#writes + 1] = touched[i]
  writes[#writes + 1] = pack(COUNTER, spent, reserved + touched[i + 2], allotted)
end
local facts = append_event('llm_request', id, event, counters, output, usd)
call('HSET', KEYS[4], id, cmsgpack.pack(fingerprint, seq, facts, event, unpack(KEYS, 7)))
call('ZADD', KEYS[5], string.format('%.0f', time_ms + lease_ms), id)
write_counters(writes)
return {'ADOPTED', seq}
