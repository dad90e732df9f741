-- A run that has failed goes on.
update runs set status = 'queued', wanted = '', error = '', ended_ms = null, scope_open = 1, epoch = epoch + 1 where id = ?
