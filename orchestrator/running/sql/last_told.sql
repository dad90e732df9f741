-- The events that were told last, of a run itself and of its steps.
select r.created_ms, r.told_by, (select coalesce(max(t.told_by), '') from tasks t where t.run = r.id) from runs r
where r.id = ?
