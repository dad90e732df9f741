-- A schedule as it is now. One that somebody has paused (1) stays so. Where its times are the same, one that is due and
-- not submitted yet stays due.
insert into schedules (org, name, scope, workflow, definition, document, folder, input, cron, zone, next_ms, by_whom,
  created_ms)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (org, name) do update set scope = excluded.scope, workflow = excluded.workflow,
  definition = excluded.definition, document = excluded.document, folder = excluded.folder, input = excluded.input,
  cron = excluded.cron, zone = excluded.zone, by_whom = excluded.by_whom,
  next_ms = case
    when schedules.cron = excluded.cron and schedules.zone = excluded.zone and schedules.paused = 0
      and schedules.next_ms < excluded.next_ms then schedules.next_ms
    else excluded.next_ms end,
  paused = case when schedules.paused = 1 then 1 else 0 end, error = ''
