-- use: now meta counters
-- Forgets counters whose window is over and whose balance stands in the records.
-- INVARIANT: nothing is reserved or allotted in a counter that goes, and the records say of it
-- exactly what it says itself. Later truth about it is an event only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry
-- ARGV  numbers (epoch, seq), then counter, end of its window in seconds, spent by the records...
local epoch_known, seq_known = struct.unpack('<i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local forgotten, differing = 0, {}
for i = 2, #ARGV, 3 do
  local field, stop, recorded = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local raw = call('HGET', KEYS[1], field)
  if raw and stop > 0 and time_ms >= stop * 1000 then
    local spent, reserved, allotted = counter(raw)
    if spent ~= recorded then
      differing[#differing + 1] = field
    elseif reserved == 0 and allotted == 0 then
      call('HDEL', KEYS[1], field)
      forgotten = forgotten + 1
    end
  end
end
if forgotten > 0 then
  compaction = compaction + 1
  call('HSET', KEYS[1], 'meta', packed_meta())
end
return {'DONE', forgotten, differing}
