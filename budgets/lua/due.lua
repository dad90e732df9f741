-- use: now meta
-- The ids whose leases have expired, oldest first, for `sweep`. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq, limit)
local epoch_known, seq_known, limit = struct.unpack('<i8i8i8', ARGV[1])
if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
return {'DUE', call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', time_ms), 'LIMIT', 0, limit)}
