-- use: now meta counters resolve
-- Takes in a reservation that a worker was granted before the ledger was recovered and that neither
-- ledger nor records know: the money is on its way, whatever the limits say. Its event is written
-- again.
-- INVARIANT: an id that is known, open or ended, is not taken in twice; one that is older than what
-- tombstones tell may be, and is refused.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, and the mark where it has one
-- ARGV  numbers (epoch, seq, lease_ms, output, usd), id, fingerprint, event, counters (packed: field,
--       dimension, amount, end of its window in seconds or 0, counters raised by its allotment)
local epoch_known, seq_known, lease_ms, output, usd = struct.unpack('<i8i8i8i8i8', ARGV[1])
local id, fingerprint, event, counters = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[4], id) == 1 or call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
local ID_AGE_MS_MAX = 3600000 -- as in reserve.lua
local id_ms = tonumber(string.sub(id, 1, 12), 16)
if not id_ms or id_ms < time_ms - ID_AGE_MS_MAX then return {'TOO_OLD'} end
local given, touched, fields, amounts = cmsgpack.unpack(counters), {}, {}, {}
local function touch(field, dimension, amount)
  local at = #touched
  touched[at + 1], touched[at + 2], touched[at + 3] = field, dimension, amount
  if not amounts[field] then fields[#fields + 1], amounts[field] = field, 0 end
  amounts[field] = amounts[field] + amount
end
for i = 1, #given, 5 do
  local field, dimension, amount, ends, above = unpack(given, i, i + 4)
  local allotment = string.match(field, '^c:a(%d+)%.')
  if allotment and call('HEXISTS', KEYS[1], 'a:' .. allotment) == 0 then
    -- The ledger has lost the allotment: what it was moved from pays.
    for raised in string.gmatch(above, '%S+') do touch(raised, dimension, amount) end
  elseif ends == 0 or time_ms < ends * 1000 or call('HEXISTS', KEYS[1], field) == 1 then
    touch(field, dimension, amount)
  end
end
local writes = {}
for i = 1, #fields do
  local spent, reserved, allotted = counter(call('HGET', KEYS[1], fields[i]))
  writes[2 * i - 1] = fields[i]
  writes[2 * i] = pack(COUNTER, spent, reserved + amounts[fields[i]], allotted)
end
counters = cmsgpack.pack(touched)
local facts = append_event('llm_request', id, event, counters, output, usd)
call('HSET', KEYS[4], id, cmsgpack.pack(fingerprint, seq, facts, event, unpack(KEYS, 7)))
call('ZADD', KEYS[5], string.format('%.0f', time_ms + lease_ms), id)
write_counters(writes)
return {'ADOPTED', seq}
