-- Runs inside a run that have ended badly, or are of a round before: the next attempt of their step starts another one.
update runs set named = null where parent = ? and (status in ('failed', 'halted', 'cancelled') or exists (
  select 1 from tasks t
  where t.run = runs.parent and t.step = runs.parent_step and t.entry = runs.parent_entry and t.status = 'again'
))
