-- A run is there, once.
insert into runs (id, org, scope, definition, workflow, version, input, budget, status, wake_at_ms, by_whom, named,
  terms, parent, parent_step, parent_entry, forked_from, depth, on_exhausted, limited_steps, runs_at_once, fences, created_ms)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do nothing
