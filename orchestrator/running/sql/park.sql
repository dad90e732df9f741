-- A run leaves its executor until a time, or until it is told something. Whoever wanted it to pause has that. What it was
-- told meanwhile is found by whoever claims.
update runs set executor = null, wake_at_ms = ?, wanted = '',
  status = case when wanted = 'pause' then 'paused' else 'waiting' end
where id = ? and epoch = ?
