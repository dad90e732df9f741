-- use: now meta scopes counters
-- Forgets what is at rest: counters whose window is over or whose limit was removed; scopes that are
-- closed, that came by use, or that were of a key which has expired, each with its counters.
-- INVARIANT: nothing is reserved or allotted in a counter that goes, and the records say of it exactly
-- what it says itself. A counter of a window that lasts goes in the step in which its scope goes, so
-- that every later request meets a scope that is not here, and `create` brings back both. A scope goes
-- as the recorder has read it: nobody has changed it since; an open one has no policy, or is of a
-- key whose time is over and whose entry in the index goes along; none has an allotment that is not
-- closed. Nothing goes for a recorder that has not seen the last compaction. Later truth about what
-- has left is an event only.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, policies, keys
-- ARGV  numbers (epoch, seq, compaction, 1 for a pass that has forgotten nothing yet, seq recorded),
--       then packed: path ('': a counter alone), state (-1: it is not here), version, fence, key id ('': of no key), its
--       entry ('' none), when it expired in ms, then counter, its end, spent by the records...
-- The end of a counter is in seconds; 0: it has none; -1: its limit was removed.
-- Answers DONE, how many counters and scopes went, the counters that differ, the last compaction.
local epoch_known, seq_known, compaction_known, is_first, recorded_seq =
  struct.unpack('<i8i8i8i8i8', ARGV[1])
local REMOVED, ABSENT = -1, -1

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
if compaction_known ~= compaction then return {'STALE'} end

local function stands(path, state_read, version_read, fence_read, key_id, entry, expired_ms)
  local raw = call('HGET', KEYS[1], 's:' .. path)
  if not raw or state_read == ABSENT then return not raw and state_read == ABSENT end
  if call('HEXISTS', KEYS[1], 'o:' .. path) == 1 then return false end
  local state, version, fence, pending = unpack_from(SCOPE, raw)
  if state ~= state_read or version ~= version_read or fence ~= fence_read or pending > 0 then
    return false
  end
  if key_id ~= '' and (call('HGET', KEYS[7], key_id) or '') ~= entry then return false end
  if state == CLOSED then return true end
  if state ~= OPEN then return false end
  if key_id ~= '' then return time_ms >= expired_ms end
  return call('HEXISTS', KEYS[6], path) == 0
end

local differing = {}
-- The counters from `at` on that are here; nil where one of them must stay.
local function leaving(group, at, alone)
  local found = {}
  for i = at, #group, 3 do
    local field, stop, recorded = group[i], group[i + 1], group[i + 2]
    local raw = call('HGET', KEYS[1], field)
    local spent, reserved, allotted = counter(raw)
    if raw or not alone then
      if alone and stop ~= REMOVED and (stop <= 0 or time_ms < stop * 1000) then return nil end
      if spent ~= recorded then
        differing[#differing + 1] = field
        return nil
      end
      if reserved ~= 0 or allotted ~= 0 then return nil end
    end
    if raw then found[#found + 1] = field end
  end
  return found
end

local counters_gone, scopes_gone, has_left = 0, 0, false
for i = 2, #ARGV do
  local group = cmsgpack.unpack(ARGV[i])
  local path, key_id = group[1], group[5]
  if path == '' or stands(unpack(group, 1, 7)) then
    local fields = leaving(group, 8, path == '')
    if fields then
      counters_gone = counters_gone + #fields
      if path ~= '' then
        if group[2] ~= ABSENT then scopes_gone = scopes_gone + 1 end
        has_left = true
        fields[#fields + 1] = 's:' .. path
        call('HDEL', KEYS[6], path)
        if key_id ~= '' then call('HDEL', KEYS[7], key_id) end
      end
      if #fields > 0 then call('HDEL', KEYS[1], unpack(fields)) end
    end
  end
end
if has_left then
  local through, late = read_past()
  -- With an empty outbox the records have all there is; a seq may have no event of its own.
  local needed = call('XLEN', KEYS[2]) == 0 and recorded_seq or seq
  call('HSET', KEYS[1], 'past', pack(PAST, math.max(through or 0, needed), late or 0))
end
if is_first == 1 and counters_gone + scopes_gone > 0 then
  compaction = compaction + 1
  call('HSET', KEYS[1], 'meta', packed_meta())
end
return {'DONE', counters_gone, scopes_gone, differing, compaction}
