-- Scope records: field s:<path>, packed (state, version, fence, pending). `pending` counts limits
-- that wait for their past to be added (count_from). A node list is what a caller believes about
-- the scopes that it asks for: packed (version, attempt, path) each.
-- INVARIANT: the state of every node is read on every decision, so a freeze, a revocation or a
-- fence counts at the very next call on every worker.
local SCOPE = '<Bi8i8B'
local OPEN, FROZEN, CLOSING, CLOSED = 0, 1, 2, 3

local function node_fields(nodes, fields, versions, attempts)
  local pos, count = 1, 0
  local length = #nodes
  while pos <= length do
    local version, attempt, path
    version, attempt, path, pos = struct.unpack('<i8i8s', nodes, pos)
    count = count + 1
    fields[count] = 's:' .. path
    versions[count] = version
    attempts[count] = attempt
  end
  return count
end

-- The first refusal by state, top down: code and the node's number (from 1), or nil. Versions
-- are compared only after the states: a frozen scope is frozen whatever the caller cached.
local function refused_by_state(values, count, versions, attempts)
  local stale, recovering
  for i = 1, count do
    local raw = values[i]
    if not raw then return 'UNKNOWN', i end
    local state, version, fence, pending = struct.unpack(SCOPE, raw)
    if state == FROZEN then return 'FROZEN', i end
    if state ~= OPEN then return 'CLOSED', i end
    if attempts[i] < fence then return 'FENCED', i end
    if versions[i] >= 0 and version ~= versions[i] then stale = stale or i end
    if pending > 0 then recovering = recovering or i end
  end
  if stale then return 'STALE', stale end
  if recovering then return 'RECOVERING', recovering end
end
