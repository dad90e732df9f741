-- The head of an organisation's ledger: one packed field, read first and written last.
-- INVARIANT: seq grows by exactly one per event, time never runs backwards, and a caller that
-- knows another epoch or a higher seq than this server (it was rolled back or replaced) gets
-- RECOVERING before anything is written.
local META = '<i8i8i8i8i8i8'
local epoch, seq, time_ms, compaction, bodies_bytes, opened_ms

local function read_meta(epoch_known, seq_known)
  local raw = redis.call('HGET', KEYS[1], 'meta')
  if not raw then return false end
  epoch, seq, time_ms, compaction, bodies_bytes, opened_ms = struct.unpack(META, raw)
  time_ms = math.max(time_ms, now())
  return epoch_known == epoch and seq_known <= seq
end

local function packed_meta()
  return struct.pack(META, epoch, seq, time_ms, compaction, bodies_bytes, opened_ms)
end

-- Appends one event under the next seq and returns its stream id. XADD refuses an id that is not
-- above the last one, so a stream that is ahead of the head stops the script before it writes.
local function append_event(kind, id, event, counters, output)
  seq = seq + 1
  local entry = string.format('%.0f-%.0f', epoch, seq)
  redis.call('XADD', KEYS[2], entry, 'type', kind, 'time_ms', string.format('%.0f', time_ms),
    'id', id, 'event', event, 'counters', counters, 'output', string.format('%.0f', output))
  return entry
end

-- Payloads ride in a second stream under the id of their event; the head counts their bytes.
local function append_body(entry, body)
  if body ~= '' then
    redis.call('XADD', KEYS[3], entry, 'body', body)
    bodies_bytes = bodies_bytes + #body
  end
end
