-- An attempt, and how its task is now.
select a.status, t.attempt, t.status
from attempts a join tasks t on t.run = a.run and t.step = a.step and t.entry = a.entry
where a.run = ? and a.step = ? and a.entry = ? and a.attempt = ?
