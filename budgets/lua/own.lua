-- use: now meta
-- Makes a recorder the one writer of an organisation's records, or keeps it so, for a lease; a
-- lease of 0 gives it back. Says what it has to take up: the batch that is fixed but not confirmed,
-- and up to where events wait in the disk spool of a recorder.
-- INVARIANT: one owner at a time, by the ledger's clock.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, recorder
-- ARGV  numbers (epoch, seq, lease_ms), owner's token
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])
local token = ARGV[2]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local owner, until_ms, fixed, spooler, spooled =
  unpack(call('HMGET', KEYS[6], 'owner', 'until', 'fixed', 'spooler', 'spooled'))
if owner and owner ~= token and time_ms < tonumber(until_ms) then
  return {'OTHER', owner, tonumber(until_ms) - time_ms}
end
call('HSET', KEYS[6], 'owner', token, 'until', string.format('%.0f', time_ms + lease_ms))
return {'MINE', epoch, seq, fixed or '', spooler or '', spooled or ''}
