-- A run that nobody has waits for more budget.
update runs set status = 'asking', error = ?, wake_at_ms = null where id = ? and status in ('queued', 'waiting')
