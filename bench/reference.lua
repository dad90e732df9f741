-- Reserve and settle as the gateway does them: the same two scripts, with payloads of the same
-- size, over kept connections to a valkey-server's unix socket. `prepared` holds the packed parts.
local prepared = require "prepared"
local ngx, format, random, concat = ngx, string.format, math.random, table.concat
local reference = {}

local function bulk(text)
  return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function new_id()
  return format("%012x%08x%08x%04x", ngx.now() * 1000, random(0, 0x7fffffff), random(0, 0x7fffffff),
    random(0, 0xffff))
end

-- One reply of the kinds that the scripts give: an array of strings and integers.
local function read_reply(socket)
  local line = assert(socket:receive())
  local kind = line:sub(1, 1)
  if kind == "*" then
    local reply = {}
    for i = 1, tonumber(line:sub(2)) do reply[i] = read_reply(socket) end
    return reply
  elseif kind == "$" then
    local text = socket:receive(tonumber(line:sub(2)) + 2)
    return text:sub(1, -3)
  elseif kind == ":" then
    return tonumber(line:sub(2))
  end
  error(line)
end

local function run(command)
  local socket = ngx.socket.tcp()
  assert(socket:connect("unix:" .. prepared.socket_path))
  assert(socket:send(command))
  local reply = read_reply(socket)
  socket:setkeepalive(60000, 256)
  return reply
end

function reference.serve()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local id = new_id()
  local granted = run(concat({prepared.reserve_head, bulk(id), prepared.reserve_middle, bulk(body),
    prepared.reserve_fields}))
  if granted[1] ~= "GRANTED" then
    ngx.status = 402
    return ngx.print(granted[1])
  end
  local capped = body:sub(1, -2) .. ',"max_tokens":' .. granted[2] .. "}"
  local answer = ngx.location.capture("/provider/chat/completions",
    {method = ngx.HTTP_POST, body = capped})
  local used = tonumber(answer.body:match('"total_tokens":(%d+)'))
  assert(used)
  local settled = run(concat({prepared.settle_head, bulk(id), prepared.settle_event,
    bulk(answer.body)}))
  assert(settled[1] == "SETTLED", settled[1])
  ngx.header["content-type"] = "application/json"
  ngx.header["x-comptroller-request-id"] = id
  ngx.header["content-length"] = #answer.body
  ngx.print(answer.body)
end

return reference
