-- A step is told something, once.
insert into signals (run, step, entry, by_whom, at_ms, payload) values (?, ?, ?, ?, ?, ?)
on conflict (run, step, entry) do nothing
