-- use: now meta scopes counters allotments resolve
-- Moves money from a scope to a child: raises `allotted` on every limit above the child, up to the
-- nearest allotment of the same dimension, whose own bound must fit, all or none.
-- INVARIANT: an opening never raises spent + reserved + allotted of any limit above its amount, and
-- nothing is written before the last check. A scope has one open allotment at a time. The same act
-- opens one.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done, allotments by scope, allotments by expiry
-- ARGV  numbers (epoch, seq, outbox_max, expires_ms, node count, usd, tokens: 0 what is not moved),
--       act id, scope, expected records, attempts, limits, event, then the fields of the nodes (the
--       scope last) and of the limits' counters, all as `reserve` has them
local epoch_known, seq_known, outbox_max, expires_ms, node_count, usd, tokens =
  struct.unpack('<i8i8i8i8i8i8i8', ARGV[1])
local act, path, event = ARGV[2], ARGV[3], ARGV[7]
local amounts = {usd, tokens}
local FIELDS_FROM = 8

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local done = call('HGET', KEYS[6], act)
if done then return {'OPENED', seq, done} end
local values = call('HMGET', KEYS[1], unpack(ARGV, FIELDS_FROM))
local code, node = refused_by_state(values, node_count, ARGV[4], ARGV[5])
if code then return {code, node} end
if call('HEXISTS', KEYS[1], 'o:' .. path) == 1 then return {'ALLOTTED'} end
if expires_ms <= time_ms then return {'TOO_LATE', time_ms} end
local limits = cmsgpack.unpack(ARGV[6])
if not windows_current(limits) then return {'WINDOW', time_ms} end
if call('XLEN', KEYS[2]) >= outbox_max then return {'BACKLOG'} end

-- Of those that refuse, the worst answer wins, and of the exhausted ones that which lasts longest.
local raised, writes = {{}, {}}, {}
local too_large, exhausted, resets_s, held
local function refusal(name, i, at_ms)
  local spent, reserved, allotted = counter(values[node_count + i])
  return {name, i, spent, reserved, allotted, amounts[limits[5 * i - 4]], 0, at_ms}
end
for i = 1, #limits / 5 do
  local dimension, amount = limits[5 * i - 4], limits[5 * i - 2]
  local spent, reserved, allotted = counter(values[node_count + i])
  local need = amounts[dimension]
  if need > amount then
    too_large = too_large or i
  elseif spent + need > amount then
    local stop = limits[5 * i]
    local resets = stop == 0 and math.huge or stop
    if not exhausted or resets > resets_s then exhausted, resets_s = i, resets end
  elseif spent + reserved + allotted + need > amount then
    held = held or i
  end
  local field = ARGV[FIELDS_FROM - 1 + node_count + i]
  raised[dimension][#raised[dimension] + 1] = field
  writes[#writes + 1] = field
  writes[#writes + 1] = pack(COUNTER, spent, reserved, allotted + need)
end
if too_large then return refusal('TOO_LARGE', too_large, 0) end
if exhausted then
  return refusal('EXHAUSTED', exhausted, resets_s == math.huge and 0 or resets_s * 1000)
end
if held then return refusal('HELD', held, 0) end

-- Opened: nothing above this line writes. The event's seq names it, and is the scope's new version.
local id = string.format('%.0f', seq + 1)
local state, _, fence, pending = struct.unpack(SCOPE, values[node_count])
local moves = {}
for dimension = 1, #MOVABLE do
  if amounts[dimension] > 0 then
    local amount = string.format('%.0f', amounts[dimension])
    moves[MOVABLE[dimension]] = {amount = amount, raised = table.concat(raised[dimension], ' ')}
  end
end
local text = cjson.encode({
  id = 'a' .. id, scope = path, state = 'open', expires_ms = string.format('%.0f', expires_ms),
  event = event, moves = moves,
})
append_event('allotment_opened', 'a' .. id, event, '', 0, 0, '',
  {'allotment', 'a' .. id, text, 'scope', path, scope_text(state, seq + 1, fence)})
local at = #writes
writes[at + 1], writes[at + 2] = 'a:' .. id, text
writes[at + 3], writes[at + 4] = 'o:' .. path, id
writes[at + 5], writes[at + 6] = 's:' .. path, struct.pack(SCOPE, state, seq, fence, pending)
write_counters(writes)
call('ZADD', KEYS[7], 0, path .. ' ' .. id)
call('ZADD', KEYS[8], string.format('%.0f', expires_ms), id)
bury(KEYS[6], act, 'a' .. id)
return {'OPENED', seq, 'a' .. id}
