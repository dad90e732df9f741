-- Closing the allotments of a whole branch, for scripts that have both sorted sets as KEYS[7] and
-- KEYS[8].
-- INVARIANT: what was allotted below is closed before what it was taken from.
local CLOSED_AT_ONCE_MAX = 200
local LOOK_AGAIN_MS = 20000

-- Whether a scope's allotment is being closed: then a thaw does not open the scope.
local function is_closing(path)
  local id = call('HGET', KEYS[1], 'o:' .. path)
  local text = id and call('HGET', KEYS[1], 'a:' .. id)
  return text and cjson.decode(text).state == 'closing'
end

-- One that waits is looked at again by the sweeper, whatever its expiry.
local function close_one(path, id, event)
  local books = allotment_books({})
  local closed = books.close(id, event)
  books.flush()
  if closed then
    call('ZREM', KEYS[7], path .. ' ' .. id)
    call('ZREM', KEYS[8], id)
  else
    call('ZADD', KEYS[8], string.format('%.0f', time_ms + LOOK_AGAIN_MS), id)
  end
  return closed
end

-- Closes what is allotted below a scope (names are read backwards: the deepest first), then its own.
-- Answers NONE where it has none, CLOSED, or CLOSING.
local function close_allotments(path, event)
  local id = call('HGET', KEYS[1], 'o:' .. path)
  local from, to = '(' .. path .. '0', '[' .. path .. '/'
  local below = call('ZRANGE', KEYS[7], from, to, 'BYLEX', 'REV', 'LIMIT', 0, CLOSED_AT_ONCE_MAX)
  for i = 1, #below do
    local child, its_id = string.match(below[i], '^(%S+) (%d+)$')
    close_one(child, its_id, '')
  end
  if not id then return 'NONE' end
  return close_one(path, id, event) and 'CLOSED' or 'CLOSING'
end
