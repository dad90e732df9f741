-- Counters: field c:<limit>:<window start>, packed (spent, reserved, allotted). Dimensions are
-- numbered 1 usd, 2 tokens, 3 requests, 4 concurrency.
-- INVARIANT: a counter that was never touched reads as zero, and nothing is ever negative.
local COUNTER = '<i8i8i8'

local function counter(raw)
  if not raw then return 0, 0, 0 end
  return unpack_from(COUNTER, raw)
end

-- A caller names the counters of the windows that it believes to be current; limits are packed
-- flat (dimension, share in percent, amount, start, end in seconds), an end of 0 never comes.
-- True where the ledger's own time lies in every one of them.
local function windows_current(limits)
  local at_s = time_ms / 1000
  for i = 4, #limits, 5 do
    local stop = limits[i + 1]
    if stop > 0 and (at_s < limits[i] or at_s >= stop) then return false end
  end
  return true
end
