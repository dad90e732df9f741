-- use: now meta scopes
-- Records, policies and open allotments of scopes, for a worker's cache. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done (unused), policies
-- ARGV  numbers (epoch, seq), paths...
-- Answers OK, the number of compactions so far, for each path its record ('' unknown), its policy
-- and its allotment ('' none), the time, and two seqs: how far the records must be for whoever asks
-- them about what is unknown here, and of the last late truth (chunks/meta.lua); both -1 where nobody
-- need ask.
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local loaded = {}
for i = 2, #ARGV do
  local at = 3 * i - 5
  local record, allotted = unpack(call('HMGET', KEYS[1], 's:' .. ARGV[i], 'o:' .. ARGV[i]))
  loaded[at] = record or ''
  loaded[at + 1] = call('HGET', KEYS[7], ARGV[i]) or ''
  loaded[at + 2] = allotted and call('HGET', KEYS[1], 'a:' .. allotted) or ''
end
local through, late = read_past()
return {'OK', compaction, loaded, time_ms, through or -1, late or -1}
