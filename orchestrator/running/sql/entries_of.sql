-- Entries of a foreach, from one on.
select t.step, t.entry, t.status, t.attempt, t.failures, t.round, t.begun_ms, t.ended_ms, t.wake_at_ms,
  substr(t.error, 1, 4096),
  case when length(t.output) <= ? and substr(t.output, 1, 1) <> '@' then t.output end,
  case when t.output is not null then 1 else 0 end, null
from tasks t where t.run = ? and t.step = ? and t.entry > ? order by t.entry limit ?
