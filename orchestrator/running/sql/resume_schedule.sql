-- A schedule goes on.
update schedules set paused = 0, next_ms = ?, error = '' where org = ? and name = ? and paused <> 0
