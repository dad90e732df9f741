-- use: now meta scopes counters allotments resolve marks
-- Charges expired leases in full; concurrency returns.
-- INVARIANT: only a lease whose time has passed by the ledger's own clock is swept, and none
-- sooner than one lease after the ledger (re)opened, because workers could not extend before.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, then one done key for each id, then the marks of those
--       that have one: the lease names it
-- ARGV  numbers (epoch, seq, lease_ms), ids...
local epoch_known, seq_known, lease_ms = struct.unpack('<i8i8i8', ARGV[1])

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local swept = {}
if time_ms < opened_ms + lease_ms then return {'SWEPT', swept} end
for i = 2, #ARGV do
  local id = ARGV[i]
  local expires = call('ZSCORE', KEYS[5], id)
  local lease = call('HGET', KEYS[4], id)
  if lease and expires and tonumber(expires) <= time_ms then
    local booked, writes, request, output, usd, mark = book(lease, {})
    append_event('reservation_expired', id, request, booked, output, usd)
    write_counters(writes)
    drop_lease(id)
    bury(KEYS[4 + i], id, expired_mark(booked, request, output, usd))
    if mark then end_mark(mark, id, 'expired', usd) end
    swept[#swept + 1] = id
  end
end
return {'SWEPT', swept}
