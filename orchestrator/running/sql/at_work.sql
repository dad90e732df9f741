-- Attempts of a run that nobody has ended, and whose keys may live; none where it goes on since.
select step, entry, attempt from attempts a where run = ? and status = 'running'
  and exists (select 1 from runs r where r.id = a.run and r.ended_ms = ?)
