-- Marks: what a request that its client has named leaves at the ledger, packed (id, SHA-256 of what
-- it asks, running | settled | unknown | expired, nano-dollars charged).
-- INVARIANT: a mark belongs to one id, and goes only with what used nothing, or by its time.
local MARK_TTL_S = 3600

-- Writes how the request ended into its mark; '' takes the mark away, so that it may be tried again.
local function end_mark(mark_key, id, state, charged)
  local mark = call('GET', mark_key)
  if not mark then return end
  local owner, asked_sha256 = cmsgpack.unpack(mark)
  if owner ~= id then return end
  if state == '' then
    call('DEL', mark_key)
  else
    call('SET', mark_key, cmsgpack.pack(id, asked_sha256, state, charged), 'EX', MARK_TTL_S)
  end
end
