-- Each piece of a stream, kept for the record.
local pieces = ngx.ctx.grant.pieces
pieces[#pieces + 1] = ngx.arg[1]
