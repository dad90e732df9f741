-- Tasks that wait for whoever has a key that is dead begin anew; not where the answer has come already.
update tasks set status = 'again', failures = 0, wake_at_ms = ?
where run = ? and status = 'waiting' and step in (:steps) and not exists (
  select 1 from signals s where s.run = tasks.run and s.step = tasks.step and s.entry = tasks.entry
)
