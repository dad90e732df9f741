-- use: now run meta counters resolve
-- Ends a recovery: the organisation is open again, in an epoch whose first event tells of it.
-- INVARIANT: the new epoch's seq begins above every seq that anybody was ever told, and nothing
-- expires sooner than one lease after this.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq, first seq), act id, event, what is booked beyond the records (packed
--       counter, dimension, 0, delta...; '' nothing), state of it (packed; '' none)
local epoch_known, seq_known, first = struct.unpack('<i8i8i8', ARGV[1])
local act, event, booked, state = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if not read_meta(epoch_known, seq_known) or epoch >= 0 then return {'RECOVERING'} end
epoch = -epoch
seq = math.max(seq, first - 1)
opened_ms = time_ms
if call('XLEN', KEYS[3]) == 0 then bodies_bytes = 0 end
append_event('correction', act, event, booked, 0, 0, '', state ~= '' and {cmsgpack.unpack(state)} or nil)
call('HSET', KEYS[1], 'meta', packed_meta(), 'run', run_id())
bury(KEYS[6], act, 'recovered')
return {'OPEN', epoch, seq}
