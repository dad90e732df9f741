-- Tasks of steps that are done, for another run, but for some steps. A foreach that has failed,
-- or is at work, is done anew whole; one that was stopped between its entries goes on with those that are done.
insert into tasks (run, step, entry, status, attempt, failures, round, wake_at_ms, begun_ms, ended_ms, bytes, output, last,
  error, told_by)
select ?, step, entry, status, attempt, failures, round, wake_at_ms, begun_ms, ended_ms, bytes, output, last, error,
  told_by
from tasks t
where run = ? and status in ('done', 'skipped', 'fanned') and step not in (:steps)
  and not exists (
    select 1 from tasks o where o.run = t.run and o.step = t.step and o.status not in ('done', 'skipped', 'fanned')
  )
