-- An executor lives.
insert into executors (id, lease_until_ms) values (?, ?)
on conflict (id) do update set lease_until_ms = excluded.lease_until_ms
