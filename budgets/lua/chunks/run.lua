-- Which server executes this: its run id, another one after every start and on every other server,
-- and its replication id, another one after every promotion, also of one that has led before. None
-- where it may not be asked. Tests load another chunk here.
local function run_id()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  if type(server) ~= 'string' or type(replication) ~= 'string' then return 'untold' end
  local run, led = string.match(server, 'run_id:(%x+)'), string.match(replication, 'master_replid:(%x+)')
  return (run or '') .. '-' .. (led or '')
end
