-- What tasks were told that begin anew.
delete from signals where run = ? and exists (
  select 1 from tasks t
  where t.run = signals.run and t.step = signals.step and t.entry = signals.entry and t.status = 'again'
)
