-- A run that waits, waits for more budget. One that is queued may just have been given more.
update runs set status = 'asking', error = ?, wake_at_ms = null where id = ? and status = 'waiting'
