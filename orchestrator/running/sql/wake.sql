-- A run that waits is due now.
update runs set status = 'queued' where id = ? and status = 'waiting'
