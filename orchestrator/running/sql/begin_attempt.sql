-- An attempt begins; said twice, it has begun once.
insert into attempts (run, step, entry, attempt, epoch, executor, status, started_ms)
values (?, ?, ?, ?, ?, ?, 'running', ?)
on conflict (run, step, entry, attempt) do nothing
