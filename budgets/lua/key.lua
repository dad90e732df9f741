-- use: now meta scopes counters resolve
-- Records a minted key (its scope exists already; the record by secret is written last, outside
-- the organisation's slot), or forgets one. A rotation that ends all earlier secrets raises the
-- fence of the key's scope in the same step.
-- INVARIANT: a secret is never here, only what a key may do and the hash that finds it; and where
-- two replace the same record, one does and the other changes nothing, the fence included: else
-- the loser's fence would shut out the secret that the winner was given.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, keys
-- ARGV  numbers (epoch, seq, fence or 0), act id, key id, record ('' forgets), event type, event,
--       text that the record which is replaced must hold, or STALE ('' for any record), then scope
--       and event of the fence
local epoch_known, seq_known, attempt = struct.unpack('<i8i8i8', ARGV[1])
local act, key_id, record, kind, event, held = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local scope_field, fence_event = 's:' .. ARGV[8], ARGV[9]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], act) == 1 then return {'ALREADY'} end
if held ~= '' and not string.find(call('HGET', KEYS[7], key_id) or '', held, 1, true) then
  return {'STALE'}
end
if attempt > 0 then
  local raw = call('HGET', KEYS[1], scope_field)
  local state, version, fence, pending = OPEN, seq, 0, 0
  if raw then state, version, fence, pending = struct.unpack(SCOPE, raw) end
  if state == CLOSING or state == CLOSED then return {'CLOSED'} end
  fence = math.max(fence, attempt)
  append_event('budget_changed', act, fence_event, '', 0, 0, '',
    {'scope', ARGV[8], scope_text(state, version, fence)})
  call('HSET', KEYS[1], scope_field, struct.pack(SCOPE, state, version, fence, pending))
end
append_event(kind, act, event, '', 0, 0, '', {'key', key_id, record})
if record == '' then
  call('HDEL', KEYS[7], key_id)
else
  call('HSET', KEYS[7], key_id, record)
end
call('HSET', KEYS[1], 'meta', packed_meta())
bury(KEYS[6], act, 'key')
return {'DONE', seq}
