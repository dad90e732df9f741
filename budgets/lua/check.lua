-- use: now meta scopes windows limits counters
-- The state of a whole path and its counters as they are now, for calls that never reserve and
-- for operators. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq), nodes, limits
-- Answers OK, or the refusal that reserve would give for the state of the path with the node's
-- number; then time_ms, the state of each node (-1 unknown), and for each limit its spent,
-- reserved, allotted and the end of its window in ms.
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local fields, versions, attempts = {}, {}, {}
local node_count = node_fields(ARGV[2], fields, versions, attempts)
local count, _, _, _, ends = limit_fields(ARGV[3], fields, time_ms, node_count)
local values = redis.call('HMGET', KEYS[1], unpack(fields))
local code, node = refused_by_state(values, node_count, versions, attempts)
local states, counters = {}, {}
for i = 1, node_count do
  states[i] = values[i] and struct.unpack('<B', values[i]) or -1
end
for i = 1, count do
  local spent, reserved, allotted = counter(values[node_count + i])
  local at = 4 * i - 3
  counters[at], counters[at + 1], counters[at + 2], counters[at + 3] = spent, reserved, allotted, ends[i] * 1000
end
return {code or 'OK', node or 0, time_ms, states, counters}
