-- Milliseconds since 1970 by the ledger's own clock. The only source of time in any script: a
-- caller's clock is never trusted, so no argument carries one. Tests load another chunk here.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
