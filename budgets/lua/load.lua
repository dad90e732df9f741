-- use: now meta scopes
-- Records and policies of scopes, for a worker's cache. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done (unused), policies
-- ARGV  numbers (epoch, seq), paths...
-- Answers OK, the number of compactions so far, for each path its record ('' unknown) and its
-- policy ('' none), and the time.
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local loaded = {}
for i = 2, #ARGV do
  loaded[2 * i - 3] = call('HGET', KEYS[1], 's:' .. ARGV[i]) or ''
  loaded[2 * i - 2] = call('HGET', KEYS[7], ARGV[i]) or ''
end
return {'OK', compaction, loaded, time_ms}
