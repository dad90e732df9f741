-- Allotments: money moved to a scope. Field a:<n> of the ledger has one as JSON (id a<n>, scope,
-- state open | closing | closed, expires_ms, event, and for each dimension that it moves its amount
-- and the counters that it raised, joined by spaces), closed ones too, for truth that comes late. Its
-- own counters are c:a<n>.<dimension>:0; o:<scope> says <n> while it is open or closing. Two sorted
-- sets serve the sweeper and may be behind: `<scope> <n>` by name, and <n> by when to look at it.
-- INVARIANT: on every counter that it raised an allotment stands for max(amount, spent) in
-- `allotted` until it is closed, and for `spent` in `spent` from then on. Whatever changes what it
-- has spent goes through these books in the same script.
local byte = string.byte
local ALLOTMENT = 97 -- 'a', the third byte of c:a<n>...: says cheaply whose a counter is
local MOVABLE = {'usd', 'tokens'}

-- The books of one call, over the counters that it has not written yet (`writes`, flat). Nothing is
-- written before `flush`. One function for all, so that a call without allotments makes only this.
local function allotment_books(writes)
  local books, there, dirty, order, records, gone = {}, {}, {}, {}, {}, {}
  for i = 1, #writes, 2 do there[writes[i]] = writes[i + 1] end

  local function get(field)
    if there[field] == nil then there[field] = call('HGET', KEYS[1], field) end
    return there[field]
  end

  local function put(field, value)
    there[field] = value
    if not dirty[field] then order[#order + 1], dirty[field] = field, true end
  end

  function books.record(id)
    if records[id] == nil then
      local text = get('a:' .. id)
      records[id] = text and cjson.decode(text)
    end
    return records[id]
  end

  local function counter_of(id, dimension)
    return string.format('c:a%s.%.0f:0', id, dimension)
  end

  local carry

  -- A counter that is no longer here has left: what it is corrected by is an event only.
  local function add(noted, field, dimension, spent_by, allotted_by)
    local raw, by = get(field), spent_by
    if raw then
      local spent, reserved, allotted = counter(raw)
      by = math.max(by, -spent)
      if by ~= spent_by then books.fell_short = field end
      put(field, pack(COUNTER, spent + by, reserved, allotted + allotted_by))
      if by ~= 0 and byte(field, 3) == ALLOTMENT then carry(noted, field, spent, spent + by) end
    elseif by ~= 0 then
      came_late = true
    end
    if by ~= 0 then
      local at = #noted
      noted[at + 1], noted[at + 2], noted[at + 3], noted[at + 4] = field, dimension, 0, by
    end
  end

  -- What an allotment has spent has changed: so has what it costs the counters that it raised, and
  -- through those of them that are allotments' what these cost. `noted` takes what was spent, flat
  -- as in `book`.
  function carry(noted, field, before, after)
    local id, number = string.match(field, '^c:a(%d+)%.(%d+):')
    local record, dimension = books.record(id), tonumber(number)
    local move = record and record.moves[MOVABLE[dimension]]
    if not move then
      books.lost = field -- a recovery has forgotten one that was closed long before
      return
    end
    local spent_by, allotted_by = after - before, 0
    if record.state ~= 'closed' then
      local amount = tonumber(move.amount)
      spent_by, allotted_by = 0, math.max(amount, after) - math.max(amount, before)
    end
    if spent_by == 0 and allotted_by == 0 then return end
    for raised in string.gmatch(move.raised, '%S+') do
      add(noted, raised, dimension, spent_by, allotted_by)
    end
  end
  books.carry = carry

  -- The scope's record under a new version, so that no worker goes on with a plan from before. Gives
  -- how both stand then, for the records.
  local function renew_scope(record, text, from, to)
    local stands = {'allotment', record.id, text}
    local raw = get('s:' .. record.scope)
    if not raw then return stands end
    local state, _, fence, pending = struct.unpack(SCOPE, raw)
    if state == from then state = to end
    put('s:' .. record.scope, struct.pack(SCOPE, state, seq + 1, fence, pending))
    stands[4], stands[5], stands[6] = 'scope', record.scope, scope_text(state, seq + 1, fence)
    return stands
  end

  -- Ends one in which nothing is reserved or allotted any more, and with it those above that only
  -- waited for it. Says whether it is closed.
  function books.finish(id)
    local record = books.record(id)
    if not record or record.state == 'closed' then return true end
    local spents = {}
    for dimension = 1, #MOVABLE do
      if record.moves[MOVABLE[dimension]] then
        local spent, reserved, allotted = counter(get(counter_of(id, dimension)))
        if reserved ~= 0 or allotted ~= 0 then return false end
        spents[dimension] = spent
      end
    end
    record.state = 'closed'
    local noted, above = {}, {}
    for dimension = 1, #MOVABLE do
      local move, spent = record.moves[MOVABLE[dimension]], spents[dimension]
      for raised in string.gmatch(move and move.raised or '', '%S+') do
        add(noted, raised, dimension, spent, -math.max(tonumber(move.amount), spent))
        if byte(raised, 3) == ALLOTMENT then above[#above + 1] = string.match(raised, '^c:a(%d+)%.') end
      end
    end
    local text = cjson.encode(record)
    put('a:' .. id, text)
    gone[#gone + 1] = 'o:' .. record.scope
    local stands = renew_scope(record, text, CLOSING, OPEN)
    append_event('allotment_closed', record.id, record.event, cmsgpack.pack(noted), 0, 0, '', stands)
    for i = 1, #above do books.finish_if_closing(above[i]) end
    return true
  end

  function books.finish_if_closing(id)
    local record = books.record(id)
    if record and record.state == 'closing' then books.finish(id) end
  end

  -- Closes one, now or when what is open in it has ended; `event` tells it in place of its opening's.
  function books.close(id, event)
    local record = books.record(id)
    if not record then return true end
    if event ~= '' and record.state == 'open' then record.event = event end
    if books.finish(id) then return true end
    if record.state == 'open' then
      record.state = 'closing'
      local text = cjson.encode(record)
      put('a:' .. id, text)
      local stands = renew_scope(record, text, OPEN, CLOSING)
      append_event('budget_changed', record.id, record.event, '', 0, 0, '', stands)
    end
    return false
  end

  -- Ends those of these counters' allotments that only waited for this call.
  function books.finish_all(fields)
    for i = 1, #fields do books.finish_if_closing(string.match(fields[i], '^c:a(%d+)%.')) end
  end

  function books.flush()
    local FIELDS_AT_ONCE = 1000
    if #order == 0 then return end
    for from = 1, #order, FIELDS_AT_ONCE do
      local flat = {}
      for i = from, math.min(from + FIELDS_AT_ONCE - 1, #order) do
        local at = #flat
        flat[at + 1], flat[at + 2] = order[i], there[order[i]]
      end
      call('HSET', KEYS[1], unpack(flat))
    end
    for i = 1, #gone do call('HDEL', KEYS[1], gone[i]) end
    call('HSET', KEYS[1], 'meta', packed_meta())
    order, dirty, gone = {}, {}, {}
  end

  return books
end
