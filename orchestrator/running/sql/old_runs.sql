-- Runs that ended before a time, and are closed and told; not while the run that they are in is kept.
select id, scope, workflow, version, status, limited_steps from runs r
where ended_ms < ? and scope_open = 0
  and not exists (select 1 from runs p where p.id = r.parent and (p.ended_ms is null or p.ended_ms >= ?))
order by ended_ms limit ? :locked
