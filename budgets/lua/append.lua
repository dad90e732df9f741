-- use: now meta counters resolve
-- Puts an event of somebody else (orchestrator, admin) into the organisation's sequence.
-- INVARIANT: an event id is appended once.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq, outbox_max), event id, event type, event
local epoch_known, seq_known, outbox_max = struct.unpack('<i8i8i8', ARGV[1])
local id, kind, event = ARGV[2], ARGV[3], ARGV[4]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
if call('XLEN', KEYS[2]) >= outbox_max then return {'BACKLOG'} end
append_event(kind, id, event, '')
call('HSET', KEYS[1], 'meta', packed_meta())
bury(KEYS[6], id, 'appended')
return {'DONE', seq}
