-- Steps of a run that have begun; of a foreach what its entries are given.
select t.step, t.entry, t.status, t.attempt, t.failures, t.round, t.begun_ms, t.ended_ms, t.wake_at_ms,
  substr(t.error, 1, 4096),
  case when t.status <> 'fanned' and length(t.output) <= ? and substr(t.output, 1, 1) <> '@' then t.output end,
  case when t.status <> 'fanned' and t.output is not null then 1 else 0 end,
  case when t.status = 'fanned' then coalesce(b.body, t.output) end
from tasks t left join blobs b on b.id = t.output and t.status = 'fanned'
where t.run = ? and t.entry = -1
