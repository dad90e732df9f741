-- Scope records: field s:<path>, packed (state, version, fence, pending). `pending` counts limits
-- that wait for their past to be added (count_from).
-- INVARIANT: the record of every node is read on every decision, so a freeze, a revocation or a
-- fence counts at the very next call on every worker.
local SCOPE = '<Bi8i8B'
local OPEN, FROZEN, CLOSING, CLOSED = 0, 1, 2, 3

-- A scope's record as the records of events keep it (`pending` is not known to last).
local function scope_text(state, version, fence)
  return string.format('%d %.0f %.0f', state, version, fence)
end

-- The first refusal by state, top down: code and the node's number (from 1), or nil where every
-- record still is what the caller has read. `expected` holds those records joined, `attempts` the
-- attempt for each node, packed. Where a record changed but admits, the caller is STALE.
local function refused_by_state(records, count, expected, attempts)
  for i = 1, count do
    if not records[i] then return 'UNKNOWN', i end
  end
  if table.concat(records, '', 1, count) == expected then return nil end
  attempts = cmsgpack.unpack(attempts)
  for i = 1, count do
    local state, _, fence = unpack_from(SCOPE, records[i])
    if state == FROZEN then return 'FROZEN', i end
    if state ~= OPEN then return 'CLOSED', i end
    if attempts[i] < fence then return 'FENCED', i end
  end
  for i = 1, count do
    local _, _, _, pending = unpack_from(SCOPE, records[i])
    if pending > 0 then return 'RECOVERING', i end
  end
  return 'STALE', 1
end
