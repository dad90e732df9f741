-- Executors that are gone, and all they had.
delete from executors where lease_until_ms < ? and id not in (select executor from runs where executor is not null)
