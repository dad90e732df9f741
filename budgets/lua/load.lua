-- use: now meta scopes
-- Records and policies of scopes, for a worker's cache. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done (unused), policies
-- ARGV  numbers (epoch, seq), paths...
-- Answers OK, the number of compactions so far, for each path its record ('' unknown) and its
-- policy ('' none), the time, and two seqs: how far the records must be for whoever asks them about
-- what is unknown here, and of the last late truth (chunks/meta.lua); both -1 where nobody need ask.
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local loaded = {}
for i = 2, #ARGV do
  loaded[2 * i - 3] = call('HGET', KEYS[1], 's:' .. ARGV[i]) or ''
  loaded[2 * i - 2] = call('HGET', KEYS[7], ARGV[i]) or ''
end
local through, late = read_past()
return {'OK', compaction, loaded, time_ms, through or -1, late or -1}
