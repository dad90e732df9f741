-- What the steps of some runs were told, as it stands in the row.
select s.run, s.step, s.entry, s.by_whom, s.at_ms, s.payload
from signals s where s.run in (:runs)
