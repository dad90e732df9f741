-- What the steps of an executor's runs were told, as it stands in the row.
select s.run, s.step, s.entry, s.by_whom, s.at_ms, s.payload
from runs r join signals s on s.run = r.id
where r.executor = ? and r.status = 'running'
