-- A schedule as it is now. One that somebody has paused (1) stays so.
insert into schedules (org, name, scope, workflow, definition, document, folder, input, cron, zone, next_ms, by_whom,
  created_ms)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (org, name) do update set scope = excluded.scope, workflow = excluded.workflow,
  definition = excluded.definition, document = excluded.document, folder = excluded.folder, input = excluded.input,
  cron = excluded.cron, zone = excluded.zone, next_ms = excluded.next_ms, by_whom = excluded.by_whom,
  paused = case when schedules.paused = 1 then 1 else 0 end, error = ''
