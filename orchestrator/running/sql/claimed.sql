-- What an executor needs of runs that it has claimed.
select r.id, r.epoch, r.scope, r.workflow, r.version, r.input, r.budget, r.wanted, r.by_whom, r.parent, r.depth,
  r.fences, r.created_ms, d.id, d.document, d.folder
from runs r join definitions d on d.id = r.definition
where r.id in (:runs)
order by r.created_ms
