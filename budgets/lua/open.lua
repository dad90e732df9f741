-- use: now run meta
-- The epoch and seq of an organisation, which every later call names: asked on every new connection,
-- before its first call. RECOVERING where the ledger was opened by another run of a server: it may
-- have lost what it had answered, and only the records can say. Who `trusts` believes what is here,
-- because there are no records to ask; who `begins` has asked them, or has none: an organisation that
-- this server does not know begins at epoch 1.
-- INVARIANT: an organisation that exists is never begun again.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  looks, trusts or begins
local raw, run = unpack(call('HMGET', KEYS[1], 'meta', 'run'))
if not raw then
  if ARGV[1] ~= 'begins' then return {'UNKNOWN'} end
  epoch, seq, compaction, bodies_bytes = 1, 0, 0, 0
  time_ms = now()
  opened_ms = time_ms
  call('HSET', KEYS[1], 'meta', packed_meta(), 'run', run_id())
  return {'OPEN', epoch, seq}
end
epoch, seq = struct.unpack(META, raw)
if epoch < 0 then return {'RECOVERING'} end
if run ~= run_id() then
  if ARGV[1] == 'looks' then return {'RECOVERING'} end
  call('HSET', KEYS[1], 'run', run_id())
end
return {'OPEN', epoch, seq}
