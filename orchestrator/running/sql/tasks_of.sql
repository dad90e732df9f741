-- Tasks of runs, with outputs that are kept apart.
select t.run, t.step, t.entry, t.status, t.attempt, t.failures, t.round, t.wake_at_ms, t.begun_ms,
  coalesce(o.body, t.output), coalesce(l.body, t.last), t.error, t.told_by, t.held
from tasks t
left join blobs o on o.id = t.output
left join blobs l on l.id = t.last
where t.run in (:runs)
