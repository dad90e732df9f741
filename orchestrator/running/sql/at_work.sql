-- Attempts of a run that nobody has ended: their keys may live.
select step, entry, attempt from attempts where run = ? and status = 'running'
