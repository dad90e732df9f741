-- use: now meta scopes
-- Versions and policies of scopes, for a worker's cache. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done (unused), policies
-- ARGV  numbers (epoch, seq), paths...
-- Answers OK, the number of compactions so far, and for each path its version (-1 unknown) and
-- its policy ('' none).
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local loaded = {}
for i = 2, #ARGV do
  local raw = redis.call('HGET', KEYS[1], 's:' .. ARGV[i])
  local version = -1
  if raw then
    local _, known = struct.unpack(SCOPE, raw)
    version = known
  end
  loaded[2 * i - 3] = version
  loaded[2 * i - 2] = redis.call('HGET', KEYS[7], ARGV[i]) or ''
end
return {'OK', compaction, loaded}
