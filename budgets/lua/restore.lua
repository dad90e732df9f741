-- use: now meta counters resolve
-- Writes what the records say into an organisation that is being recovered, a piece at a time.
-- INVARIANT: only the recovery that raised this epoch writes, and only before it is open. A lease that
-- comes back lives one lease from now, so that a dead worker's is charged.
--
-- KEYS  ledger, leases, expiry, policies, keys, then tombstones
-- ARGV  numbers (epoch, seq, lease_ms), then number of a key (from 1), field, text ('': the field goes;
--       field '' too: the whole key)...
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])
local EXPIRY, TOMBSTONES_FROM = 3, 6

if not read_meta(epoch_known, seq_known) or epoch >= 0 then return {'RECOVERING'} end
local expires = string.format('%.0f', time_ms + lease_ms)
for i = 2, #ARGV, 3 do
  local number, field, text = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local key = KEYS[number]
  if field == '' then
    call('DEL', key)
  elseif number == EXPIRY then
    call('ZADD', key, expires, field)
  elseif text == '' then
    call('HDEL', key, field)
  else
    call('HSET', key, field, text)
    if number >= TOMBSTONES_FROM then call('EXPIRE', key, DONE_TTL_S) end
  end
end
return {'DONE'}
