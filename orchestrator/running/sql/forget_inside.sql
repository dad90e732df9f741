-- Runs inside a run that have ended badly: the next attempt of their step starts another one.
update runs set named = null where parent = ? and status in ('failed', 'halted', 'cancelled')
