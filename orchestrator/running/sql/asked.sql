-- A step that waits, and the definition that says for what.
select t.attempt, t.told_by, d.document
from tasks t join runs r on r.id = t.run join definitions d on d.id = r.definition
where t.run = ? and t.step = ? and t.entry = ? and t.status = 'waiting'
