-- use: now meta
-- The epoch and seq of an organisation, which every later call names. With `create` an
-- organisation that this server does not know begins at epoch 1: only for one that the records
-- do not know either.
-- INVARIANT: an organisation that exists is never begun again.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  create (1 or 0)
local raw = call('HGET', KEYS[1], 'meta')
if not raw then
  if ARGV[1] ~= '1' then return {'UNKNOWN'} end
  epoch, seq, compaction, bodies_bytes = 1, 0, 0, 0
  time_ms = now()
  opened_ms = time_ms
  call('HSET', KEYS[1], 'meta', packed_meta())
  return {'OPEN', epoch, seq}
end
epoch, seq = struct.unpack(META, raw)
return {'OPEN', epoch, seq}
