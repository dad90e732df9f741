-- use: now meta
-- The recorder has written everything up to a seq: both streams forget it.
-- INVARIANT: payload bytes are given back once, together with the entries that they belong to.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, through_seq, bodies_bytes)
local epoch_known, seq_known, through, bytes = struct.unpack('<i8i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local first_kept = string.format('%.0f-%.0f', epoch, through + 1)
local trimmed = call('XTRIM', KEYS[2], 'MINID', first_kept)
call('XTRIM', KEYS[3], 'MINID', first_kept)
if trimmed > 0 then
  bodies_bytes = math.max(0, bodies_bytes - bytes)
  call('HSET', KEYS[1], 'meta', packed_meta())
end
return {'DONE', trimmed}
