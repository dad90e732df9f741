-- The run with a scope, if it is not over, and what it does when its budget is used up.
select id, on_exhausted, epoch, workflow, version from runs
where scope = ? and status not in ('done', 'failed', 'halted', 'cancelled')
