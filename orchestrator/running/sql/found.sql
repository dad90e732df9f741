-- A run that somebody decides about.
select id, org, scope, workflow, version, status, budget, error, fences from runs where id = ? :update
