-- use: now meta
-- The records hold everything up to a seq, or the disk spool of a recorder does: both streams
-- forget it, and the batch is no longer fixed.
-- INVARIANT: payload bytes are given back once, together with the entries that they belong to, and
-- only the owner unfixes a batch: of one that a paused recorder wrote, its successor has to find out.
--
-- KEYS  ledger, outbox, bodies, leases, expiry, recorder
-- ARGV  numbers (epoch, seq, through: epoch and seq, bodies_bytes), the owner whose disk has them
--       ('': the records do), the token of who says so
local epoch_known, seq_known, of_epoch, through, bytes = struct.unpack('<i8i8i8i8i8', ARGV[1])
local spooler, token = ARGV[2], ARGV[3]

if not read_meta(epoch_known, seq_known) then return {'RECOVERING'} end
local owner = call('HGET', KEYS[6], 'owner')
if owner ~= token and (owner or spooler ~= '') then return {'LOST'} end
local mark = string.format('%.0f-%.0f', of_epoch, through)
local first_kept = string.format('%.0f-%.0f', of_epoch, through + 1)
local trimmed = call('XTRIM', KEYS[2], 'MINID', first_kept)
call('XTRIM', KEYS[3], 'MINID', first_kept)
if trimmed > 0 then
  bodies_bytes = math.max(0, bodies_bytes - bytes)
  call('HSET', KEYS[1], 'meta', packed_meta())
end
local function is_covered(epoch, last)
  epoch = tonumber(epoch)
  return epoch < of_epoch or epoch == of_epoch and tonumber(last) <= through
end
call('HSET', KEYS[6], 'confirmed', mark)
local fixed, spooled = unpack(call('HMGET', KEYS[6], 'fixed', 'spooled'))
if fixed and is_covered(string.match(fixed, '^(%d+)-%d+-(%d+)$')) then
  call('HDEL', KEYS[6], 'fixed')
end
if spooler ~= '' then
  call('HSET', KEYS[6], 'spooler', spooler, 'spooled', mark)
elseif spooled and is_covered(string.match(spooled, '^(%d+)-(%d+)$')) then
  call('HDEL', KEYS[6], 'spooler', 'spooled')
end
return {'DONE', trimmed}
