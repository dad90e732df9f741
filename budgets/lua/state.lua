-- use: now meta scopes counters resolve
-- Freezes, thaws, closes or fences a scope.
-- INVARIANT: closed stays closed, and a fence only rises.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq, attempt), act id, scope, action, event type, event
local epoch_known, seq_known, attempt = struct.unpack('<i8i8i8', ARGV[1])
local act, path, action, kind, event = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], act) == 1 then return {'ALREADY'} end
local raw = call('HGET', KEYS[1], 's:' .. path)
local state, version, fence, pending = OPEN, seq, 0, 0
if raw then state, version, fence, pending = struct.unpack(SCOPE, raw) end
if action == 'close' then
  state = CLOSED
elseif state == CLOSING or state == CLOSED then
  return {'CLOSED'}
elseif action == 'freeze' then
  state = FROZEN
elseif action == 'thaw' then
  state = OPEN
elseif action == 'fence' then
  fence = math.max(fence, attempt)
else
  return redis.error_reply('ERR unknown action ' .. action)
end
append_event(kind, act, event, '', 0, 0, '', {'scope', path, scope_text(state, version, fence)})
call('HSET', KEYS[1], 's:' .. path, struct.pack(SCOPE, state, version, fence, pending), 'meta', packed_meta())
bury(KEYS[6], act, action)
return {'DONE', seq, state}
