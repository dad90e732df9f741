-- use: now run meta
-- Begins the recovery of an organisation: from here on only who names the epoch that is raised here,
-- negative until it is open, may write, and a recorder that was paused in the middle is refused.
-- INVARIANT: an epoch is raised above all that this ledger and the records have seen, by the owner
-- of the records only; time goes on from the last that either knows.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, recorder
-- ARGV  numbers (epoch, seq and time of the records, lease_ms), owner's token
local of_epoch, of_seq, of_ms, lease_ms = struct.unpack('<i8i8i8i8', ARGV[1])
local token = ARGV[2]

epoch, seq, time_ms, compaction, bodies_bytes, opened_ms = 0, 0, 0, 0, 0, 0
local raw, run = unpack(call('HMGET', KEYS[1], 'meta', 'run'))
if raw then
  epoch, seq, time_ms, compaction, bodies_bytes, opened_ms = unpack_from(META, raw)
end
local knows_all = epoch > of_epoch or epoch == of_epoch and seq >= of_seq
if epoch > 0 and run == run_id() and knows_all then return {'OPEN', epoch, seq} end
time_ms = math.max(time_ms, of_ms, now())
local owner, until_ms = unpack(call('HMGET', KEYS[6], 'owner', 'until'))
if owner and owner ~= token and time_ms < tonumber(until_ms) then
  return {'OTHER', owner, tonumber(until_ms) - time_ms}
end
epoch = -(math.max(math.abs(epoch), of_epoch) + 1)
seq = math.max(seq, of_seq)
compaction = compaction + 1
call('HSET', KEYS[1], 'meta', packed_meta())
call('HSET', KEYS[6], 'owner', token, 'until', string.format('%.0f', time_ms + lease_ms))
return {'RAISED', epoch, seq, time_ms}
