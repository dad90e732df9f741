-- Tasks that have failed begin anew, with all their rounds, and those that wait for a run inside that has ended badly.
update tasks set status = 'again', failures = 0, round = case when status = 'failed' then 0 else round end,
  wake_at_ms = ?, ended_ms = null, error = '', held = ''
where run = ? and (status = 'failed' or status = 'waiting' and (
    select c.status from runs c
    where c.parent = tasks.run and c.parent_step = tasks.step and c.parent_entry = tasks.entry
    order by c.created_ms desc, c.id desc limit 1
  ) in ('failed', 'halted', 'cancelled'))
