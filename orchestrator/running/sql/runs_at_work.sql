-- Runs of a workflow that are at work.
select count(*) from runs where org = ? and workflow = ? and status = 'running'
