-- Tasks of runs; of what is kept apart only lists that a foreach is for.
select t.run, t.step, t.entry, t.status, t.attempt, t.failures, t.round, t.wake_at_ms, t.begun_ms,
  coalesce(b.body, t.output), t.last, t.error, t.told_by, t.held
from tasks t
left join blobs b on b.id = t.output and t.status = 'fanned'
where t.run in (:runs)
