-- Runs whose executor is not heard of any more.
select id, executor from runs
where executor is not null and status = 'running' and executor <> ?
  and executor not in (select id from executors where lease_until_ms >= ?) :locked
