-- Ending a reservation: what settle, release and sweep share.
-- INVARIANT: a reservation ends once. Its lease goes in the same script that books it, and its
-- tombstone stays for an hour, so that a repeated or late call finds out and books nothing twice.
local DONE_TTL_S = 7200

-- Books charges(dimension, reserved) in place of what the lease holds, in the windows of the
-- reservation. Returns the packed record of what was booked, for the event.
local function book(lease_counters, charge)
  local touched = cmsgpack.unpack(lease_counters)
  local fields, booked, writes = {}, {}, {}
  for i = 1, #touched, 3 do fields[#fields + 1] = touched[i] end
  if #fields == 0 then return cmsgpack.pack(booked), writes end
  local values = redis.call('HMGET', KEYS[1], unpack(fields))
  for i = 1, #fields do
    local dimension, held = touched[3 * i - 1], touched[3 * i]
    local spent, reserved, allotted = counter(values[i])
    local charged = dimension == 4 and 0 or charge(dimension, held)
    writes[2 * i - 1] = fields[i]
    writes[2 * i] = struct.pack(COUNTER, spent + charged, reserved - held, allotted)
    local at = 4 * i - 3
    booked[at], booked[at + 1], booked[at + 2], booked[at + 3] = fields[i], dimension, held, charged
  end
  return cmsgpack.pack(booked), writes
end

local function write_counters(writes)
  writes[#writes + 1] = 'meta'
  writes[#writes + 1] = packed_meta()
  redis.call('HSET', KEYS[1], unpack(writes))
end

local function bury(done_key, id, outcome)
  redis.call('HSET', done_key, id, outcome)
  redis.call('EXPIRE', done_key, DONE_TTL_S)
end

local function drop_lease(id)
  redis.call('HDEL', KEYS[4], id)
  redis.call('ZREM', KEYS[5], id)
end
