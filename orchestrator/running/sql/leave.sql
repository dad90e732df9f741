-- A run leaves its executor: paused (unless it was resumed meanwhile), or asking for more.
update runs set executor = null, status = case when ? = 'paused' and wanted = '' then 'queued' else ? end, wanted = '',
  error = ?
where id = ? and epoch = ?
