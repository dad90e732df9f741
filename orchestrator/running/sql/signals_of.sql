-- What the steps of an executor's runs were told.
select s.run, s.step, s.entry, s.by_whom, s.at_ms, coalesce(b.body, s.payload)
from runs r join signals s on s.run = r.id left join blobs b on b.id = s.payload
where r.executor = ? and r.status = 'running'
