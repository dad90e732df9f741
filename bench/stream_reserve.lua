-- Before a stream: reserve, and forward with the granted cap.
local ledger = require "budget_ledger"

if not ledger.authorised() then return ngx.exit(401) end
ngx.req.read_body()
local body = ngx.req.get_body_data()
local sock = ledger.connect()
local grant = ledger.reserve(sock, body)
ledger.keep(sock)
ngx.req.set_body_data(ledger.capped(body, grant.output))
grant.pieces = {}
ngx.ctx.grant = grant
ngx.header["x-comptroller-request-id"] = grant.id
