-- The ledger admits nothing of a run any more, and this end of it is told.
update runs set scope_open = 0 where id = ? and scope_open = 1 and ended_ms = ?
