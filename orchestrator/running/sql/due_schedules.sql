-- Schedules that are due, those that wait longest first.
select org, name from schedules where paused = 0 and next_ms <= ? order by next_ms limit ?
