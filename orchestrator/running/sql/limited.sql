-- Of claimed runs, those of workflows with a limit of runs at once, the oldest first.
select id, org, workflow, runs_at_once from runs where runs_at_once is not null and id in (:runs) order by created_ms, id
