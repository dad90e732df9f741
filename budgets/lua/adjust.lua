-- use: now meta scopes counters allotments resolve
-- Corrects what was spent: a price that was wrong, or the past of a limit that counts from an
-- earlier time (then `scope` is named, and one of its pending limits becomes valid).
-- INVARIANT: an adjustment is booked once, all or none, and never makes a counter negative. A
-- counter that is no longer here (its window is over, or its scope has left) is corrected by the
-- event; one that nothing has touched yet is begun.
-- What an allotment has spent is corrected where it was moved from, too: the caller names the counters
-- that a request touched, never those that its ending passed on to.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers (epoch, seq), adjustment id, scope or '', event, then counter, dimension, delta, end of
--       its window in seconds (0: never), the scope that it counts for ('': not known any more)...
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])
local id, path, event = ARGV[2], ARGV[3], ARGV[4]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
local writes, booked, corrected, moved = {}, {}, {}, {}
local function may_begin(stop, counts_for)
  if stop > 0 and time_ms >= stop * 1000 then return false end
  return counts_for ~= '' and not may_have_left(call('HGET', KEYS[1], 's:' .. counts_for))
end
for i = 5, #ARGV, 5 do
  local field, dimension, delta = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local raw = corrected[field] or call('HGET', KEYS[1], field)
  if raw or may_begin(tonumber(ARGV[i + 3]), ARGV[i + 4]) then
    local spent, reserved, allotted = counter(raw)
    if spent + delta < 0 then return {'NEGATIVE', field} end
    corrected[field] = pack(COUNTER, spent + delta, reserved, allotted)
    writes[#writes + 1] = field
    writes[#writes + 1] = corrected[field]
    if byte(field, 3) == ALLOTMENT then moved[#moved + 1] = {field, spent, spent + delta} end
  else
    came_late = true
  end
  local at = #booked
  booked[at + 1], booked[at + 2], booked[at + 3], booked[at + 4] = field, dimension, 0, delta
end
if path ~= '' then
  local raw = call('HGET', KEYS[1], 's:' .. path)
  if not raw then return {'UNKNOWN'} end
  local state, version, fence, pending = struct.unpack(SCOPE, raw)
  writes[#writes + 1] = 's:' .. path
  writes[#writes + 1] = struct.pack(SCOPE, state, version, fence, math.max(0, pending - 1))
end
local counters = pass_on(moved, booked, writes)
local books = writes.books or {}
if books.lost then return {'UNKNOWN'} end
if books.fell_short then return {'NEGATIVE', books.fell_short} end
append_event('correction', id, event, counters)
write_counters(writes)
bury(KEYS[6], id, 'adjusted')
return {'DONE', seq}
