-- use: now meta scopes counters
-- Puts scopes where there are none: new ones, open and without limits of their own, and such as have
-- left, as the records remember them, with what was spent in the windows that last.
-- INVARIANT: a scope that exists is left as it is, and so is a counter; nothing is created if the
-- ledger has compacted, or truth has come late, since the caller asked the records about these scopes.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, policies
-- ARGV  numbers (epoch, seq, compaction, late seq or -1: nobody was asked), then packed: path, state,
--       version (-1: a new one), fence, policy ('' none), then counter and spent...
local epoch_known, seq_known, compaction_known, late_known = struct.unpack('<i8i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local _, late = read_past()
if compaction_known ~= compaction or late_known ~= (late or -1) then return {'STALE'} end
local brings_policy = false
for i = 2, #ARGV do
  local scope = cmsgpack.unpack(ARGV[i])
  local path, state, version, fence, policy = unpack(scope, 1, 5)
  local record = struct.pack(SCOPE, state, version < 0 and seq or version, fence, 0)
  if call('HSETNX', KEYS[1], 's:' .. path, record) == 1 then
    if policy ~= '' then
      call('HSET', KEYS[6], path, policy)
      brings_policy = true
    end
    for at = 6, #scope, 2 do
      call('HSETNX', KEYS[1], scope[at], pack(COUNTER, scope[at + 1], 0, 0))
    end
  end
end
-- What a recorder believes to be limits of nobody any more may be these.
if brings_policy then
  compaction = compaction + 1
  call('HSET', KEYS[1], 'meta', packed_meta())
end
return {'CREATED', seq}
