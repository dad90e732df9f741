-- How much of each of some runs has to be read to go on with it, the oldest first: a task takes room beside its output.
select r.id, length(r.input) + length(d.document) + cast(
    (select coalesce(sum(t.bytes + ?), 0) from tasks t where t.run = r.id) as bigint
  )
from runs r join definitions d on d.id = r.definition
where r.id in (:runs)
order by r.created_ms, r.id
