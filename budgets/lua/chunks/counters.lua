-- Counters: field c:<limit>:<window start>, packed (spent, reserved, allotted).
-- INVARIANT: a counter that was never touched reads as zero, and nothing is ever negative.
local COUNTER = '<i8i8i8'

local function counter(raw)
  if not raw then return 0, 0, 0 end
  return struct.unpack(COUNTER, raw)
end
