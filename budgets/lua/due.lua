-- use: now meta
-- The ids whose leases have expired, oldest first, and those of their marks that there are, for
-- `sweep`; and whether there are allotments that `lapse` has to look at. Reads only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, allotments by expiry
-- ARGV  numbers (epoch, seq, limit)
local epoch_known, seq_known, limit = struct.unpack('<i8i8i8', ARGV[1])
if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local ids = call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', time_ms), 'LIMIT', 0, limit)
local marks = {}
for i = 1, #ids do
  local lease = call('HGET', KEYS[4], ids[i])
  if lease then
    local _, _, _, _, mark = cmsgpack.unpack(lease)
    marks[#marks + 1] = mark
  end
end
local lapsed = call('ZRANGEBYSCORE', KEYS[6], '-inf', string.format('%.0f', time_ms), 'LIMIT', 0, 1)
return {'DUE', ids, marks, #lapsed}
