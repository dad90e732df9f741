-- The reference's client of the ledger: the product's own two scripts, called over a pooled
-- connection. `bench_plan` is generated: it holds what a worker of the gateway has cached as well
-- (names of keys, packed limits, records of the scopes) and events of the gateway's size.
local ffi = require "ffi"
local plan = require "bench_plan"

local floor, random = math.floor, math.random
local format, match, sub = string.format, string.match, string.sub
local DONE_BUCKET_MS = 600000
local IDLE_MS, POOL_SIZE = 60000, 128
local USAGE_BYTES_MAX = 500

local reserve_numbers = ffi.new("int64_t[15]", plan.reserve_numbers)
local settle_numbers = ffi.new("int64_t[5]", plan.settle_numbers)

local function bulk(text)
    return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function command(sha, arguments)
    local keys = {}
    for i, key in ipairs(plan.keys) do keys[i] = bulk(key) end
    local count = 3 + #plan.keys + 1 + arguments
    return "*" .. count .. "\r\n" .. bulk("EVALSHA") .. bulk(sha) .. bulk(tostring(#plan.keys + 1))
        .. table.concat(keys)
end

local RESERVE = command(plan.reserve_sha, 8 + #plan.fields)
local SETTLE = command(plan.settle_sha, 4)
local CACHED = bulk(plan.expected) .. bulk(plan.attempts) .. bulk(plan.limits)
local FIELDS = {}
for i, field in ipairs(plan.fields) do FIELDS[i] = bulk(field) end
FIELDS = table.concat(FIELDS)

local function connect()
    local sock = ngx.socket.tcp()
    local ok, problem = sock:connect(plan.socket, { pool_size = POOL_SIZE })
    if not ok then error("the ledger cannot be reached: " .. problem) end
    return sock
end

local function line(sock)
    local text, problem = sock:receive("*l")
    if not text then error("the ledger does not answer: " .. problem) end
    return text
end

-- One reply of bulk strings and integers, flat.
local function reply(sock)
    local head = line(sock)
    if sub(head, 1, 1) ~= "*" then error("the ledger answers " .. head) end
    local values = {}
    for i = 1, tonumber(sub(head, 2)) do
        local text = line(sock)
        if sub(text, 1, 1) == "$" then
            values[i] = sock:receive(tonumber(sub(text, 2)))
            sock:receive(2)
        else
            values[i] = tonumber(sub(text, 2))
        end
    end
    return values
end

local function authorised()
    return ngx.var.http_authorization == plan.authorization
end

-- (id, granted output, amount set aside); raises where there is no grant.
local function reserve(sock, body)
    local now_ms = floor(ngx.now() * 1000)
    local id = format("%012x%010x%010x", now_ms, random(0, 2 ^ 40 - 1), random(0, 2 ^ 40 - 1))
    local done = plan.done_prefix .. floor(now_ms / DONE_BUCKET_MS)
    local fixed_nusd = #body * plan.input_nusd
    reserve_numbers[2] = fixed_nusd
    reserve_numbers[4] = #body
    local numbers = ffi.string(reserve_numbers, 120)
    sock:send({
        RESERVE, bulk(done), "$120\r\n", numbers, "\r\n$32\r\n", id, "\r\n",
        bulk(plan.scope .. sub(numbers, 17, 80)), CACHED,
        bulk(format(plan.request_event, id)), "$", #body, "\r\n", body, "\r\n", FIELDS,
    })
    local grant = reply(sock)
    if grant[1] ~= "GRANTED" then error("refused: " .. tostring(grant[1])) end
    return { id = id, done = done, output = grant[2],
             reserved_nusd = fixed_nusd + grant[2] * plan.output_nusd }
end

-- Books what the answer says that it used; the cost in nano-dollars.
local function settle(sock, grant, answer)
    local usage = sub(answer, -USAGE_BYTES_MAX) -- searching all of a stream would cost a millisecond
    local input = tonumber(match(usage, '"prompt_tokens":(%d+)'))
    local output = tonumber(match(usage, '"completion_tokens":(%d+)'))
    local cost_nusd = input * plan.input_nusd + output * plan.output_nusd
    settle_numbers[2] = cost_nusd
    settle_numbers[3] = input + output
    local event = format(plan.response_event, grant.id, grant.reserved_nusd, cost_nusd)
    sock:send({
        SETTLE, bulk(grant.done), "$40\r\n", ffi.string(settle_numbers, 40), "\r\n$32\r\n",
        grant.id, "\r\n", bulk(event), "$", #answer, "\r\n", answer, "\r\n",
    })
    local booked = reply(sock)
    if booked[1] ~= "SETTLED" then error("not settled: " .. tostring(booked[1])) end
    return cost_nusd
end

local function capped(body, output)
    return sub(body, 1, -2) .. ',"max_tokens":' .. output .. "}"
end

local function keep(sock)
    sock:setkeepalive(IDLE_MS, POOL_SIZE)
end

return { authorised = authorised, connect = connect, reserve = reserve, settle = settle,
         capped = capped, keep = keep }
