-- use: now meta
-- Closes a ledger of which a caller knows a later state (it was rolled back while it ran, or its file
-- was replaced): a negative epoch is answered RECOVERING to everybody until a recorder has asked the
-- records.
-- INVARIANT: a ledger is closed only by who knows a higher epoch or seq than it has.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq)
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

read_meta(epoch_known, seq_known)
if not epoch or epoch < 0 or epoch > epoch_known or epoch == epoch_known and seq >= seq_known then
  return {'NO'}
end
epoch = -epoch_known
call('HSET', KEYS[1], 'meta', packed_meta())
return {'CLOSED'}
