-- use: now meta
-- Fixes the bounds of the batch that is written to the records next, before it is written: whoever
-- takes over after a crash writes the same one.
-- INVARIANT: a batch that is fixed stays fixed until it is confirmed, and only the owner fixes one.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, recorder
-- ARGV  numbers (epoch, seq), owner's token, bounds (`<epoch>-<first>-<last>`)
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local token, bounds = ARGV[2], ARGV[3]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local owner, until_ms, fixed = unpack(call('HMGET', KEYS[6], 'owner', 'until', 'fixed'))
if owner ~= token or time_ms >= tonumber(until_ms) then return {'LOST'} end
if fixed then return {'FIXED', fixed} end
call('HSET', KEYS[6], 'fixed', bounds)
return {'FIXED', bounds}
