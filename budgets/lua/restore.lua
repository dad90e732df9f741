-- use: now meta counters resolve
-- Writes what the records say into an organisation that is being recovered, a piece at a time.
-- INVARIANT: only the recovery that raised this epoch writes, and only before it is open. A lease that
-- comes back lives one lease from now, so that a dead worker's is charged.
--
-- KEYS  ledger, leases, expiry, policies, keys, allotments by scope, by expiry, then tombstones
-- ARGV  numbers (epoch, seq, lease_ms), then number of a key (from 1), field, text ('': the field goes;
--       field '' too: the whole key)...
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])
local EXPIRY, ALLOTMENTS, ALLOTMENTS_EXPIRY, TOMBSTONES_FROM = 3, 6, 7, 8

if not read_meta(epoch_known, seq_known) or epoch >= 0 then return {'RECOVERING'} end
local function gather(of, number, one, other)
  local args = of[number] or {}
  args[#args + 1], args[#args + 2] = one, other
  of[number] = args
end

local expires = string.format('%.0f', time_ms + lease_ms)
local fields, scored = {}, {}
for i = 2, #ARGV, 3 do
  local number, field, text = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local key = KEYS[number]
  if field == '' then
    call('DEL', key)
  elseif number == EXPIRY then
    gather(scored, number, expires, field)
  elseif number == ALLOTMENTS or number == ALLOTMENTS_EXPIRY then
    gather(scored, number, text, field)
  elseif text == '' then
    call('HDEL', key, field)
  else
    gather(fields, number, field, text)
  end
end
-- One command for all that goes to a key: a piece is bounded (WRITES_AT_ONCE_MAX), and so is a call.
for number, args in pairs(scored) do call('ZADD', KEYS[number], unpack(args)) end
for number, args in pairs(fields) do
  call('HSET', KEYS[number], unpack(args))
  if number >= TOMBSTONES_FROM then call('EXPIRE', KEYS[number], DONE_TTL_S) end
end
return {'DONE'}
