-- Schedules as they are shown: a long input by that it is.
select org, name, scope, workflow, definition, folder, case when length(input) <= 65536 then input end, cron, zone,
  next_ms, paused, by_whom, created_ms, last_run, error
from schedules
