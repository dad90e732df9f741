-- One request that is not streamed: reserve, forward with the granted cap, settle, answer.
local ledger = require "budget_ledger"

if not ledger.authorised() then return ngx.exit(401) end
ngx.req.read_body()
local body = ngx.req.get_body_data()
local sock = ledger.connect()
local grant = ledger.reserve(sock, body)
local answer = ngx.location.capture("/upstream", {
    method = ngx.HTTP_POST,
    body = ledger.capped(body, grant.output),
})
local cost_nusd = ledger.settle(sock, grant, answer.body)
ledger.keep(sock)
ngx.header["content-type"] = "application/json"
ngx.header["content-length"] = #answer.body
ngx.header["x-comptroller-request-id"] = grant.id
ngx.header["x-comptroller-cost-usd"] = string.format("%.9f", cost_nusd / 1e9)
ngx.print(answer.body)
