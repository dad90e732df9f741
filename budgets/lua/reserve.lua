-- use: now meta scopes counters
-- Decides on one request against every limit above it, and sets its quote aside on all or none.
-- INVARIANT: a grant never raises spent + reserved + allotted of any limit above its amount, and
-- nothing is written before the last check. The same id and fingerprint get the same grant again.
-- Of requests with one mark, one is granted until that mark is gone.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done; and the mark of a request that its client has
--       named: its fingerprint then ends in the SHA-256 of what it asks
-- ARGV  numbers, id, fingerprint, expected records, attempts, limits, event, body, then the fields
--       of the nodes (s:...) and of the limits' counters (c:...)
-- numbers: epoch, seq, usd fixed and per output, tokens fixed and per output, requests,
--   concurrency, output wanted, output least, lease_ms, outbox_max, bodies_bytes_max, node count,
--   whether a grant below what is wanted is to be told instead (LOWERED), because the caller can ask
--   for less
-- An amount asked for is fixed + ceil(output * per / 1000): nano-dollars from pico-dollars.
local epoch_known, seq_known, usd_fixed, usd_per, tokens_fixed, tokens_per, requests, concurrency,
  wanted, least, lease_ms, outbox_max, bodies_max, node_count, tells_lowered =
  struct.unpack('<i8i8i8i8i8i8i8i8i8i8i8i8i8i8i8', ARGV[1])
local id, fingerprint, body = ARGV[2], ARGV[3], ARGV[8]
local fixed = {usd_fixed, tokens_fixed, requests, concurrency}
local per = {usd_per, tokens_per, 0, 0}
local FIELDS_FROM = 9
local ID_AGE_MS_MAX, ID_AHEAD_MS_MAX = 3600000, 300000
local RUNNING_MARK_TTL_S = 86400
local UNBOUND = 9e12 -- no quote asks more for its output; keeps products exact in a double

local function asked(dimension, output)
  local product = output * per[dimension] + 999
  return fixed[dimension] + (product - product % 1000) / 1000
end

-- The largest output that fits into `room`, -1 where not even none of it does.
local function fitting(dimension, room)
  room = math.min(room - fixed[dimension], UNBOUND)
  if room < 0 then return -1 end
  if per[dimension] == 0 then return wanted end
  local product = room * 1000
  return (product - product % per[dimension]) / per[dimension]
end

-- Exact for any room: the hundreds and the rest apart.
local function share_of(room, percent)
  local rest = room % 100
  return (room - rest) / 100 * percent + math.floor(rest * percent / 100)
end

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end

local lease = call('HGET', KEYS[4], id)
if lease then
  local lease_fingerprint, granted_seq, facts = cmsgpack.unpack(lease)
  -- One that came back from the records has none.
  if lease_fingerprint ~= '' and lease_fingerprint ~= fingerprint then return {'CONFLICT'} end
  local _, granted_ms, _, _, output = cmsgpack.unpack(facts)
  return {'GRANTED', output, granted_seq, granted_ms, 0, 0, 0, 0, 0, 0}
end
if call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
local id_ms = tonumber(string.sub(id, 1, 12), 16)
if not id_ms or id_ms < time_ms - ID_AGE_MS_MAX or id_ms > time_ms + ID_AHEAD_MS_MAX then
  return {'TOO_OLD', time_ms}
end

local values = call('HMGET', KEYS[1], unpack(ARGV, FIELDS_FROM))
local code, node = refused_by_state(values, node_count, ARGV[4], ARGV[5])
if code then return {code, node} end
local mark = KEYS[7] and call('GET', KEYS[7])
if mark then
  local owner, asked_sha256, state, charged = cmsgpack.unpack(mark)
  local same = asked_sha256 == string.sub(fingerprint, -32)
  return {'REPEATED', owner, same and 1 or 0, state, charged}
end
local limits = cmsgpack.unpack(ARGV[6])
if not windows_current(limits) then return {'WINDOW', time_ms} end
if call('XLEN', KEYS[2]) >= outbox_max or bodies_bytes + #body > bodies_max then
  return {'BACKLOG'}
end

-- One pass over the limits: the worst answer wins, and among equals the one that binds longest.
local count = #limits / 5
local fields_before = FIELDS_FROM - 1 + node_count
local spents, reserveds, rooms, allotteds = {}, {}, {}, {}
local output = wanted
local too_large, affordable, exhausted, resets_s, held
for i = 1, count do
  local dimension, amount = limits[5 * i - 4], limits[5 * i - 2]
  local spent, reserved, allotted = counter(values[node_count + i])
  local need = asked(dimension, least)
  local room = amount - spent - reserved - allotted
  spents[i], reserveds[i], allotteds[i], rooms[i] = spent, reserved, allotted, room
  if need > amount then
    local fits = math.max(0, fitting(dimension, amount))
    if not too_large or fits < affordable then too_large, affordable = i, fits end
  elseif spent + need > amount then
    local stop = limits[5 * i]
    local resets = stop == 0 and math.huge or stop
    if not exhausted or resets > resets_s then exhausted, resets_s = i, resets end
  elseif need > room then
    held = held or {}
    held[#held + 1] = i
  elseif per[dimension] > 0 then
    local share = room
    if reserved > 0 then share = share_of(room, limits[5 * i - 3]) end
    output = math.min(output, math.max(least, fitting(dimension, share)))
  end
end

local function refusal(name, i, fits, at_ms)
  local asked_for = asked(limits[5 * i - 4], least)
  return {name, i, spents[i], reserveds[i], allotteds[i], asked_for, math.max(0, fits), at_ms}
end
if too_large then return refusal('TOO_LARGE', too_large, affordable, 0) end
if exhausted then
  local fits = fitting(limits[5 * exhausted - 4], rooms[exhausted])
  return refusal('EXHAUSTED', exhausted, fits, resets_s == math.huge and 0 or resets_s * 1000)
end

-- When enough of the leases in flight will have expired: the honest "try again". 0 where only
-- allotments hold the money (their closing is nobody's timer).
local LEASES_READ_MAX = 100
local function held_until(i)
  local missing = asked(limits[5 * i - 4], least) - rooms[i]
  if missing > reserveds[i] then return 0 end
  local field = ARGV[fields_before + i]
  local due = call('ZRANGE', KEYS[5], 0, LEASES_READ_MAX - 1, 'WITHSCORES')
  local until_ms = 0
  for at = 1, #due, 2 do
    local _, _, facts = cmsgpack.unpack(call('HGET', KEYS[4], due[at]))
    local _, _, _, counters = cmsgpack.unpack(facts)
    local touched = cmsgpack.unpack(counters)
    for k = 1, #touched, 3 do
      if touched[k] == field then missing = missing - touched[k + 2] end
    end
    until_ms = tonumber(due[at + 1])
    if missing <= 0 then return until_ms end
  end
  return until_ms
end
if held then
  local worst, until_ms = held[1], -1
  for k = 1, #held do
    local at_ms = held_until(held[k])
    if at_ms == 0 then worst, until_ms = held[k], 0 break end
    if at_ms > until_ms then worst, until_ms = held[k], at_ms end
  end
  return refusal('HELD', worst, fitting(limits[5 * worst - 4], rooms[worst]), until_ms)
end

if tells_lowered == 1 and output < wanted then return {'LOWERED', output} end

-- Granted: nothing above this line writes.
local touched, writes = {}, {}
local amounts = {asked(1, output), asked(2, output), requests, concurrency}
local tightest, free = {0, 0, 0, 0}, {0, 0, 0, 0}
for i = 1, count do
  local dimension, field = limits[5 * i - 4], ARGV[fields_before + i]
  local amount = amounts[dimension]
  touched[3 * i - 2], touched[3 * i - 1], touched[3 * i] = field, dimension, amount
  writes[2 * i - 1], writes[2 * i] = field, pack(COUNTER, spents[i], reserveds[i] + amount, allotteds[i])
  local left = rooms[i] - amount
  if tightest[dimension] == 0 or left < free[dimension] then tightest[dimension], free[dimension] = i, left end
end
local counters = cmsgpack.pack(touched)
local facts = append_event('llm_request', id, ARGV[7], counters, output, amounts[1], body)
call('HSET', KEYS[4], id, cmsgpack.pack(fingerprint, seq, facts, ARGV[7], unpack(KEYS, 7)))
if KEYS[7] then
  local running = cmsgpack.pack(id, string.sub(fingerprint, -32), 'running', amounts[1])
  call('SET', KEYS[7], running, 'EX', RUNNING_MARK_TTL_S)
end
call('ZADD', KEYS[5], string.format('%.0f', time_ms + lease_ms), id)
writes[2 * count + 1], writes[2 * count + 2] = 'meta', packed_meta()
call('HSET', KEYS[1], unpack(writes))
return {'GRANTED', output, seq, time_ms, tightest[1], free[1], tightest[2], free[2], tightest[3], free[3]}
