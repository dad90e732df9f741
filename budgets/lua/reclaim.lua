-- use: now meta scopes counters allotments closing resolve
-- Closes what is allotted to a scope, and before it what is allotted below: nothing new is admitted
-- there, and what was not spent goes back to where it came from as soon as nothing is open in it.
-- INVARIANT: the same act closes once, whatever was opened since.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, allotments by scope, allotments by expiry
-- ARGV  numbers (epoch, seq), act id, scope, event
-- Answers NONE where nothing is allotted, CLOSED, or CLOSING while open reservations are awaited.
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local act, path, event = ARGV[2], ARGV[3], ARGV[4]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local done = call('HGET', KEYS[6], act)
if done then return {done, seq} end
local outcome = close_allotments(path, event)
bury(KEYS[6], act, outcome)
return {outcome, seq}
