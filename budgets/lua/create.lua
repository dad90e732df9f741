-- use: now meta scopes
-- Creates scopes that are used for the first time, open and without limits of their own.
-- INVARIANT: a scope that exists is left as it is; nothing is created if the ledger has compacted
-- since the caller asked the records whether they remember these scopes.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, compaction), paths...
local epoch_known, seq_known, compaction_known = struct.unpack('<i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if compaction_known ~= compaction then return {'STALE'} end
for i = 2, #ARGV do
  call('HSETNX', KEYS[1], 's:' .. ARGV[i], struct.pack(SCOPE, OPEN, seq, 0, 0))
end
return {'CREATED', seq}
