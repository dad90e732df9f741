-- use: now meta scopes
-- The heartbeat of a worker: each of its leases lives lease_ms longer. Says for each id OK, GONE
-- (expired or resolved), or FROZEN, CLOSED, FENCED by a node on its path: its stream is cut.
-- INVARIANT: a lease that is gone is never brought back.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, lease_ms), ids...
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local expires = string.format('%.0f', time_ms + lease_ms)
local answers = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local lease = redis.call('HGET', KEYS[4], id)
  local answer = 'GONE'
  if lease then
    redis.call('ZADD', KEYS[5], 'XX', expires, id)
    local _, _, _, nodes = cmsgpack.unpack(lease)
    local fields, versions, attempts = {}, {}, {}
    local count = node_fields(nodes, fields, versions, attempts)
    for k = 1, count do versions[k] = -1 end
    local values = redis.call('HMGET', KEYS[1], unpack(fields))
    answer = refused_by_state(values, count, versions, attempts) or 'OK'
    if answer == 'RECOVERING' then answer = 'OK' end
  end
  answers[i - 1] = answer
end
return {'EXTENDED', answers}
