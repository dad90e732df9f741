-- When the next of those that wait for a time is due.
select min(wake_at_ms) from runs where status = 'waiting' and wake_at_ms is not null
