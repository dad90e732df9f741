-- Calls that a budget refused: coalesced by key, scope and second, `detail` counts them and says why.
CREATE VIEW IF NOT EXISTS comptroller.refusals ${on_cluster} AS
SELECT time, org, scope, project, workflow, run_id, step_id, agent, key_id, endpoint, model_requested,
       error AS reason, detail, epoch, seq
FROM comptroller.events
WHERE event_type = 'budget_exceeded'
