-- A limit list is packed (dimension, window, share in percent, amount, limit) each. Dimensions: 1 usd,
-- 2 tokens, 3 requests, 4 concurrency; windows as in the chunk of that name.
-- Appends the counter fields of the windows that hold `at_ms` to `fields` behind `base`.
local function limit_fields(limits, fields, at_ms, base)
  local dimensions, amounts, shares, ends = {}, {}, {}, {}
  local starts, stops = {}, {}
  local pos, count = 1, 0
  local length = #limits
  while pos <= length do
    local dimension, window, share, amount, limit
    dimension, window, share, amount, limit, pos = struct.unpack('<BBBi8s', limits, pos)
    local start = starts[window]
    if not start then
      start, stops[window] = window_bounds(window, at_ms)
      starts[window] = start
    end
    count = count + 1
    dimensions[count], amounts[count], shares[count], ends[count] = dimension, amount, share, stops[window]
    fields[base + count] = 'c:' .. limit .. ':' .. string.format('%.0f', start)
  end
  return count, dimensions, amounts, shares, ends
end
