-- Runs that are due, from the oldest: this executor's from now on. A workflow with as many at work as may be has none.
-- Whoever told a run something may not have seen that it was just being parked: what it has not heard makes it due, but
-- where it is due soon by itself: such a one has been claimed, and could not begin. Signals are few: SQLite is to begin
-- with them (cross join).
update runs set status = 'running', executor = ?, epoch = epoch + 1, wake_at_ms = null
where id in (
  select id from runs r
  where (status = 'queued' or (status = 'waiting' and wake_at_ms <= ?) or id in (
      select w.id from signals s cross join tasks t cross join runs w
      where t.run = s.run and t.step = s.step and t.entry = s.entry and t.status = 'waiting'
        and w.id = s.run and w.status = 'waiting' and (w.wake_at_ms is null or w.wake_at_ms > ?)
    ))
    and (runs_at_once is null or runs_at_once > (
      select count(*) from runs o where o.org = r.org and o.workflow = r.workflow and o.status = 'running'
    ))
  order by created_ms
  limit ? :locked
)
returning id
