-- A run that nobody has stays so. It keeps the time that it was to begin at.
update runs set status = 'paused', wanted = '' where id = ? and executor is null and status in ('queued', 'waiting')
