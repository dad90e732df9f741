-- use: now meta scopes counters resolve
-- Replaces the policy of a scope. New limits carry the placeholder id "@.<n>"; they are named by
-- the seq of this very event, so that no limit's counter is ever taken up by another limit.
-- INVARIANT: the policy is replaced only if the scope still has the version that the caller read,
-- and every change has a version of its own (its seq).
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, policies
-- ARGV  numbers (epoch, seq, expected version or -1, pending limits), act id, scope, policy, event
local epoch_known, seq_known, expected, pending = struct.unpack('<i8i8i8i8', ARGV[1])
local act, path, policy, event = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], act) == 1 then return {'ALREADY'} end
local raw = call('HGET', KEYS[1], 's:' .. path)
local state, version, fence = OPEN, -1, 0
if raw then state, version, fence = struct.unpack(SCOPE, raw) end
if version ~= expected then return {'STALE', version} end
if state == CLOSING or state == CLOSED then return {'CLOSED'} end
local named = seq + 1
policy = string.gsub(policy, '"id":"@%.', '"id":"' .. string.format('%.0f', named) .. '.')
append_event('budget_changed', act, event, '', 0, 0, '',
  {'scope', path, scope_text(state, named, fence), 'policy', path, policy})
call('HSET', KEYS[7], path, policy)
call('HSET', KEYS[1], 's:' .. path, struct.pack(SCOPE, state, seq, fence, pending), 'meta', packed_meta())
bury(KEYS[6], act, 'set')
return {'SET', seq, policy}
