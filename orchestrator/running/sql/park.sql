-- A run leaves its executor until a time, or until it is told something; at once if it was meanwhile. Whoever wanted it to
-- pause has that.
update runs set executor = null, wake_at_ms = ?, wanted = '',
  status = case when wanted = 'pause' then 'paused' when exists (
      select 1 from signals s join tasks t on t.run = s.run and t.step = s.step and t.entry = s.entry
      where s.run = runs.id and t.status = 'waiting'
    ) then 'queued' else 'waiting' end
where id = ? and epoch = ?
