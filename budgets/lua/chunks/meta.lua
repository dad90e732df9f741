-- The head of an organisation's ledger: one packed field, read first and written last.
-- INVARIANT: seq grows by exactly one per event, time never runs backwards, and a caller that
-- knows another epoch or a higher seq than this server (it was rolled back or replaced) gets
-- RECOVERING before anything is written. A negative epoch is one that is being recovered.
local call, pack, unpack_from = redis.call, struct.pack, struct.unpack
local META = '<i8i8i8i8i8i8'
local epoch, seq, time_ms, compaction, bodies_bytes, opened_ms

local function read_meta(epoch_known, seq_known)
  local raw = call('HGET', KEYS[1], 'meta')
  if not raw then return false end
  epoch, seq, time_ms, compaction, bodies_bytes, opened_ms = unpack_from(META, raw)
  time_ms = math.max(time_ms, now())
  return epoch_known == epoch and seq_known <= seq
end

local function packed_meta()
  return pack(META, epoch, seq, time_ms, compaction, bodies_bytes, opened_ms)
end

-- Appends one event under the next seq, and its payload to the second stream under the same id.
-- `facts` is the ledger's part: packed (type, time, id, counters, output tokens granted, usd
-- reserved; the last two 0 where the event's own part says what it was). `state`, where the act
-- changed what no sum of counters tells, is how it stands now: flat kind, name, text; the records
-- keep the last of each for a ledger that is lost. XADD refuses an id that is not above the last
-- one, so a stream ahead of the head stops a script before it writes.
local function append_event(kind, id, event, counters, output, usd, body, state)
  seq = seq + 1
  local entry = string.format('%.0f-%.0f', epoch, seq)
  local facts = cmsgpack.pack(kind, time_ms, id, counters, output or 0, usd or 0)
  if state then
    call('XADD', KEYS[2], entry, 'event', event, 'facts', facts, 'state', cmsgpack.pack(unpack(state)))
  else
    call('XADD', KEYS[2], entry, 'event', event, 'facts', facts)
  end
  if body and body ~= '' then
    call('XADD', KEYS[3], entry, 'body', body)
    bodies_bytes = bodies_bytes + #body
  end
  return facts
end
