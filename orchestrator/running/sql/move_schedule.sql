-- A schedule was due.
update schedules set next_ms = ?, paused = ?, error = ?, last_run = coalesce(?, last_run) where org = ? and name = ?
