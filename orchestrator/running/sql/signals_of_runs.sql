-- What the steps of some runs were told.
select s.run, s.step, s.entry, s.by_whom, s.at_ms, coalesce(b.body, s.payload)
from signals s left join blobs b on b.id = s.payload where s.run in (:runs)
