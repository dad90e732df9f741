-- After a stream: settle. This phase cannot wait, so a timer does it at once.
local ledger = require "budget_ledger"

local grant = ngx.ctx.grant
ngx.timer.at(0, function()
    local sock = ledger.connect()
    ledger.settle(sock, grant, table.concat(grant.pieces))
    ledger.keep(sock)
end)
