-- use: now meta scopes
-- The heartbeat of a worker: each of its leases lives lease_ms longer. Says for each id OK, GONE
-- (expired or resolved), or FROZEN, CLOSED, FENCED by a node on its path: its stream is cut.
-- INVARIANT: a lease that is gone is never brought back.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, lease_ms), then id, attempts (packed), fields of the nodes (packed)...
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local expires = string.format('%.0f', time_ms + lease_ms)
local answers = {}
for i = 2, #ARGV, 3 do
  local id = ARGV[i]
  local answer = 'GONE'
  if call('HEXISTS', KEYS[4], id) == 1 then
    call('ZADD', KEYS[5], 'XX', expires, id)
    local fields = cmsgpack.unpack(ARGV[i + 2])
    local records = call('HMGET', KEYS[1], unpack(fields))
    answer = refused_by_state(records, #fields, '', ARGV[i + 1], true)
    -- A node that is not here has left: it was open, or closed long before the last heartbeat.
    if answer == 'STALE' or answer == 'RECOVERING' or answer == 'UNKNOWN' then answer = 'OK' end
  end
  answers[#answers + 1] = answer
end
return {'EXTENDED', answers}
