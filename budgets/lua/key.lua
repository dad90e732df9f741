-- use: now meta counters resolve
-- Records a minted key (its scope exists already; the record by secret is written last, outside
-- the organisation's slot), or forgets one.
-- INVARIANT: a secret is never here, only what a key may do and the hash that finds it.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, keys
-- ARGV  numbers (epoch, seq), act id, key id, record ('' forgets), event type, event, and text that
--       the record which is replaced must hold, or STALE ('' for any record)
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local act, key_id, record, kind, event, held = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], act) == 1 then return {'ALREADY'} end
if held ~= '' and not string.find(call('HGET', KEYS[7], key_id) or '', held, 1, true) then
  return {'STALE'}
end
append_event(kind, act, event, '')
if record == '' then
  call('HDEL', KEYS[7], key_id)
else
  call('HSET', KEYS[7], key_id, record)
end
call('HSET', KEYS[1], 'meta', packed_meta())
bury(KEYS[6], act, 'key')
return {'DONE', seq}
