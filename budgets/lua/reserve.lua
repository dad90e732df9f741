-- use: now meta scopes windows limits counters
-- Decides on one request against every limit above it, and sets its quote aside on all or none.
-- INVARIANT: a grant never raises spent + reserved + allotted of any limit above its amount, and
-- nothing is written before the last check. The same id and fingerprint get the same grant again.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, done
-- ARGV  numbers, id, fingerprint, nodes, limits, event, body
-- numbers: epoch, seq, {fixed, per 1000 output tokens' thousandth} of usd and tokens, requests,
--   concurrency, output wanted, output least, lease_ms, outbox_max, bodies_bytes_max
-- An amount asked for is fixed + ceil(output * per / 1000): nano-dollars from pico-dollars.
local epoch_known, seq_known, usd_fixed, usd_per, tokens_fixed, tokens_per, requests, concurrency,
  wanted, least, lease_ms, outbox_max, bodies_max = struct.unpack('<i8i8i8i8i8i8i8i8i8i8i8i8i8', ARGV[1])
local id, fingerprint, nodes, event, body = ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[7]
local fixed = {usd_fixed, tokens_fixed, requests, concurrency}
local per = {usd_per, tokens_per, 0, 0}
local ID_AGE_MS_MAX, ID_AHEAD_MS_MAX = 3600000, 300000
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

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end

local lease = redis.call('HGET', KEYS[4], id)
if lease then
  local lease_fingerprint, _, reply = cmsgpack.unpack(lease)
  if lease_fingerprint ~= fingerprint then return {'CONFLICT'} end
  return cmsgpack.unpack(reply)
end
if redis.call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end
local id_ms = tonumber(string.sub(id, 1, 12), 16)
if not id_ms or id_ms < time_ms - ID_AGE_MS_MAX or id_ms > time_ms + ID_AHEAD_MS_MAX then
  return {'TOO_OLD', time_ms}
end

local fields, versions, attempts = {}, {}, {}
local node_count = node_fields(nodes, fields, versions, attempts)
local count, dimensions, amounts, shares, ends = limit_fields(ARGV[5], fields, time_ms, node_count)
local values = redis.call('HMGET', KEYS[1], unpack(fields))

local code, node = refused_by_state(values, node_count, versions, attempts)
if code then return {code, node} end
if redis.call('XLEN', KEYS[2]) >= outbox_max or bodies_bytes + #body > bodies_max then
  return {'BACKLOG'}
end

-- One pass over the limits: the worst answer wins, and among equals the one that binds longest.
local spents, reserveds, allotteds = {}, {}, {}
local output = wanted
local too_large, affordable, exhausted, resets_s, held
for i = 1, count do
  local dimension, amount = dimensions[i], amounts[i]
  local spent, reserved, allotted = counter(values[node_count + i])
  spents[i], reserveds[i], allotteds[i] = spent, reserved, allotted
  local need = asked(dimension, least)
  local room = amount - spent - reserved - allotted
  if need > amount then
    local fits = math.max(0, fitting(dimension, amount))
    if not too_large or fits < affordable then too_large, affordable = i, fits end
  elseif spent + need > amount then
    local resets = ends[i] == 0 and math.huge or ends[i]
    if not exhausted or resets > resets_s then exhausted, resets_s = i, resets end
  elseif need > room then
    held = held or {}
    held[#held + 1] = i
  elseif per[dimension] > 0 then
    local share = reserved > 0 and math.min(room, math.floor(room / 100 * shares[i])) or room
    output = math.min(output, math.max(least, fitting(dimension, share)))
  end
end

local function refusal(name, i, fits, at_ms)
  return {name, i, amounts[i], spents[i], reserveds[i], allotteds[i], asked(dimensions[i], least), fits, at_ms}
end
local function fits_now(i)
  return math.max(0, fitting(dimensions[i], amounts[i] - spents[i] - reserveds[i] - allotteds[i]))
end
if too_large then return refusal('TOO_LARGE', too_large, affordable, 0) end
if exhausted then
  local at_ms = resets_s == math.huge and 0 or resets_s * 1000
  return refusal('EXHAUSTED', exhausted, math.max(0, fitting(dimensions[exhausted], amounts[exhausted] - spents[exhausted])), at_ms)
end

-- When enough of the leases in flight will have expired: the honest "try again". 0 where only
-- allotments hold the money (their closing is nobody's timer).
local LEASES_READ_MAX = 1000
local function held_until(i)
  local missing = asked(dimensions[i], least) - (amounts[i] - spents[i] - reserveds[i] - allotteds[i])
  if missing > reserveds[i] then return 0 end
  local field = fields[node_count + i]
  local due = redis.call('ZRANGE', KEYS[5], 0, LEASES_READ_MAX - 1, 'WITHSCORES')
  local until_ms = 0
  for at = 1, #due, 2 do
    local _, counters = cmsgpack.unpack(redis.call('HGET', KEYS[4], due[at]))
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
  return refusal('HELD', worst, fits_now(worst), until_ms)
end

-- Granted: nothing above this line writes.
local touched, writes = {}, {}
local tightest, free = {0, 0, 0, 0}, {0, 0, 0, 0}
for i = 1, count do
  local dimension = dimensions[i]
  local amount = asked(dimension, output)
  local field = fields[node_count + i]
  touched[3 * i - 2], touched[3 * i - 1], touched[3 * i] = field, dimension, amount
  writes[2 * i - 1] = field
  writes[2 * i] = struct.pack(COUNTER, spents[i], reserveds[i] + amount, allotteds[i])
  local left = amounts[i] - spents[i] - reserveds[i] - allotteds[i] - amount
  if tightest[dimension] == 0 or left < free[dimension] then tightest[dimension], free[dimension] = i, left end
end
local counters = cmsgpack.pack(touched)
append_body(append_event('llm_request', id, event, counters, output), body)
local reply = {'GRANTED', output, seq, time_ms, tightest[1], free[1], tightest[2], free[2], tightest[3], free[3]}
redis.call('HSET', KEYS[4], id, cmsgpack.pack(fingerprint, counters, cmsgpack.pack(reply), nodes))
redis.call('ZADD', KEYS[5], string.format('%.0f', time_ms + lease_ms), id)
writes[#writes + 1] = 'meta'
writes[#writes + 1] = packed_meta()
redis.call('HSET', KEYS[1], unpack(writes))
return reply
