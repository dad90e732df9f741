-- The run id of the server that executes this: another one after every start of a server and on
-- every other server; none where it may not be asked. Tests load another chunk here.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or 'untold'
end
