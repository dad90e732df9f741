-- A task as it is now.
insert into tasks (run, step, entry, status, attempt, failures, round, wake_at_ms, begun_ms, ended_ms, bytes, output, last,
  error, told_by, held)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (run, step, entry) do update set status = excluded.status, attempt = excluded.attempt,
  failures = excluded.failures, round = excluded.round, wake_at_ms = excluded.wake_at_ms, begun_ms = excluded.begun_ms,
  ended_ms = excluded.ended_ms, bytes = excluded.bytes, output = excluded.output, last = excluded.last, error = excluded.error,
  told_by = excluded.told_by, held = excluded.held
