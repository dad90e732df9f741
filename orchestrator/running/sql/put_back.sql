-- A run that was claimed and is one too many.
update runs set status = 'queued', executor = null where id = ?
