-- use: now meta scopes counters
-- The state of a whole path and its counters as they are now, for calls that never reserve and
-- for operators. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, node count), expected records, attempts, limits, then the fields of
--       the nodes and of the limits' counters, all as `reserve` has them
-- Answers OK, or the refusal that reserve would give for the state of the path with the node's
-- number; then time_ms, the state of each node (-1 unknown), and for each limit its spent,
-- reserved and allotted.
local epoch_known, seq_known, node_count = struct.unpack('<i8i8i8', ARGV[1])
local FIELDS_FROM = 5

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if not windows_current(cmsgpack.unpack(ARGV[4])) then return {'WINDOW', time_ms} end
local values = call('HMGET', KEYS[1], unpack(ARGV, FIELDS_FROM))
local code, node = refused_by_state(values, node_count, ARGV[2], ARGV[3])
local states, counters = {}, {}
for i = 1, node_count do
  states[i] = values[i] and struct.unpack('<B', values[i]) or -1
end
for i = 1, #values - node_count do
  local at = 3 * i
  counters[at - 2], counters[at - 1], counters[at] = counter(values[node_count + i])
end
return {code or 'OK', node or 0, time_ms, states, counters}
