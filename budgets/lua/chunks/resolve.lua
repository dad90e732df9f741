-- Ending a reservation: what settle, release and sweep share.
-- INVARIANT: a reservation ends once. Its lease goes in the same script that books it, and its
-- tombstone stays for an hour, so that a repeated or late call finds out and books nothing twice.
local DONE_TTL_S = 7200

-- Takes changes of what allotments have spent (counter, before, after) to where it was moved from;
-- the record with these changes. `writes` goes through their books when it is written.
local function pass_on(moved, booked, writes)
  if #moved == 0 then return cmsgpack.pack(booked) end
  local books, own = allotment_books(writes), {}
  for i = 1, #moved do
    books.carry(booked, unpack(moved[i]))
    own[i] = moved[i][1]
  end
  writes.books, writes.allotments = books, own
  return cmsgpack.pack(booked)
end

-- Moves what the lease holds from reserved to spent: `truth` by dimension, or as reserved where
-- that is nil or negative; concurrency returns. Gives the packed record of what was booked
-- (counter, dimension, held, charged) for the event, the writes that do it, and the request's own
-- event, granted output and reserved usd, which speak for an ending that nobody is left to describe;
-- last its mark, if its client has named it.
-- A counter that is no longer here held nothing and its window is over: it was compacted, and is
-- corrected by the event alone.
local function book(lease, truth)
  local _, _, facts, request, mark = cmsgpack.unpack(lease)
  local _, _, _, counters, output, usd = cmsgpack.unpack(facts)
  local touched = cmsgpack.unpack(counters)
  local fields, booked, writes = {}, {}, {}
  local moved
  local count = #touched / 3
  if count == 0 then return cmsgpack.pack(booked), writes, request, output, usd, mark end
  for i = 1, count do fields[i] = touched[3 * i - 2] end
  local values = call('HMGET', KEYS[1], unpack(fields))
  for i = 1, count do
    local dimension, held = touched[3 * i - 1], touched[3 * i]
    local spent, reserved, allotted = counter(values[i])
    local charged = dimension == 4 and 0 or truth[dimension] or held
    if charged < 0 then charged = held end
    local at = 4 * i
    booked[at - 3], booked[at - 2], booked[at - 1], booked[at] = fields[i], dimension, held, charged
    if values[i] then
      writes[#writes + 1] = fields[i]
      writes[#writes + 1] = pack(COUNTER, spent + charged, reserved - held, allotted)
      if byte(fields[i], 3) == ALLOTMENT then
        moved = moved or {}
        moved[#moved + 1] = {fields[i], spent, spent + charged}
      end
    else
      came_late = true
    end
  end
  local record = moved and pass_on(moved, booked, writes) or cmsgpack.pack(booked)
  return record, writes, request, output, usd, mark
end

-- What the sweeper leaves in place of a lease: enough to correct its charge, once.
local EXPIRED = 'expired:'
local function expired_mark(booked, request, output, usd)
  return EXPIRED .. cmsgpack.pack(booked, request, output, usd)
end
local function is_expired(done)
  return string.sub(done, 1, #EXPIRED) == EXPIRED
end

-- What the sweeper charged in full gives way to the truth, in the same counters. Corrections may
-- have taken some of it back already: a counter never falls below zero. The sweeper charged what was
-- held: what it charged without was passed on by an allotment, and is again.
local function rebook(done, truth)
  local booked, request, output, usd = cmsgpack.unpack(string.sub(done, #EXPIRED + 1))
  local charges = cmsgpack.unpack(booked)
  local writes, changed, moved = {}, {}, {}
  for i = 1, #charges, 4 do
    local field, dimension, held, charged = unpack(charges, i, i + 3)
    if held > 0 or charged == 0 then
      local actual = dimension == 4 and 0 or truth[dimension]
      if actual < 0 then actual = charged end
      local raw, delta = call('HGET', KEYS[1], field), actual - charged
      if raw then
        local spent, reserved, allotted = counter(raw)
        delta = math.max(delta, -spent)
        writes[#writes + 1] = field
        writes[#writes + 1] = pack(COUNTER, spent + delta, reserved, allotted)
        if byte(field, 3) == ALLOTMENT then moved[#moved + 1] = {field, spent, spent + delta} end
      else
        came_late = true
      end
      local at = #changed
      changed[at + 1], changed[at + 2], changed[at + 3], changed[at + 4] = field, dimension, 0, delta
    end
  end
  return pass_on(moved, changed, writes), writes, request, output, usd
end

-- Also ends the allotments that only waited for this, with an event of their own each.
local function write_counters(writes)
  note_late()
  local at = #writes
  writes[at + 1], writes[at + 2] = 'meta', packed_meta()
  call('HSET', KEYS[1], unpack(writes))
  if writes.books then
    writes.books.finish_all(writes.allotments)
    writes.books.flush()
  end
end

local function bury(done_key, id, outcome)
  call('HSET', done_key, id, outcome)
  call('EXPIRE', done_key, DONE_TTL_S)
end

local function drop_lease(id)
  call('HDEL', KEYS[4], id)
  call('ZREM', KEYS[5], id)
end

-- An ending of what is not known here (any more): its tombstone's time is over, or this server has
-- lost it. It may have been booked before, so that it charges nothing; the records have what it says.
local function note_unbooked(id, event, body)
  append_event('settlement_unbooked', id, event, '', 0, 0, body)
  call('HSET', KEYS[1], 'meta', packed_meta())
end
