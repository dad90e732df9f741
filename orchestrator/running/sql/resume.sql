-- A run that was paused goes on: at once, or, where nothing of it has begun, at its time.
update runs set wanted = '', status = case
    when wake_at_ms > ? and not exists (select 1 from tasks t where t.run = runs.id) then 'waiting' else 'queued' end
where id = ? and status = 'paused'
