-- Where a window begins and ends, in seconds since 1970, UTC. Weeks begin on Monday. `total` and
-- concurrency have no window: they begin at 0 and end at 0 (never).
local DAY_S = 86400

-- Days since 1970 of the first day of the month and of the next one: the civil calendar from day
-- numbers in eras of 400 years that begin on 1 March (so that leap days come last).
local function month_bounds(day)
  local shifted = day + 719468
  local era_day = shifted % 146097
  local era_year = math.floor((era_day - math.floor(era_day / 1460) + math.floor(era_day / 36524)
    - math.floor(era_day / 146096)) / 365)
  local year_day = era_day - (365 * era_year + math.floor(era_year / 4) - math.floor(era_year / 100))
  local month = math.floor((5 * year_day + 2) / 153)
  local first = day - (year_day - math.floor((153 * month + 2) / 5))
  local calendar_month = month < 10 and month + 3 or month - 9
  local year = era_year + math.floor(shifted / 146097) * 400 + (calendar_month <= 2 and 1 or 0)
  local length = 31
  if calendar_month == 4 or calendar_month == 6 or calendar_month == 9 or calendar_month == 11 then
    length = 30
  elseif calendar_month == 2 then
    length = (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
  end
  return first, first + length
end

local function window_bounds(window, at_ms)
  local at_s = math.floor(at_ms / 1000)
  if window == 0 then return 0, 0 end
  if window == 1 then local start = at_s - at_s % 60 return start, start + 60 end
  if window == 2 then local start = at_s - at_s % 3600 return start, start + 3600 end
  local day = math.floor(at_s / DAY_S)
  if window == 3 then return day * DAY_S, (day + 1) * DAY_S end
  if window == 4 then
    local monday = day - (day + 3) % 7
    return monday * DAY_S, (monday + 7) * DAY_S
  end
  local first, next_first = month_bounds(day)
  return first * DAY_S, next_first * DAY_S
end
