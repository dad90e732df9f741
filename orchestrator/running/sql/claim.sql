-- Runs that are due, from the oldest: this executor's from now on. A workflow with as many at work as may be has none.
update runs set status = 'running', executor = ?, epoch = epoch + 1, wake_at_ms = null
where id in (
  select id from runs r
  where (status = 'queued' or (status = 'waiting' and wake_at_ms <= ?))
    and (runs_at_once is null or runs_at_once > (
      select count(*) from runs o where o.org = r.org and o.workflow = r.workflow and o.status = 'running'
    ))
  order by created_ms
  limit ? :locked
)
returning id
