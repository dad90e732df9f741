-- Runs that are over, and whose scope at the ledger may still be open.
select id, scope, workflow, version, status, error, created_ms, ended_ms, limited_steps
from runs where scope_open = 1 and ended_ms is not null
order by ended_ms limit ?
