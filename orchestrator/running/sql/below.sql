-- Runs inside a run, at any depth, that are not over. Compared as characters: the order of texts is the database's.
select id from runs
where org = ? and substr(scope, 1, ?) = ? and status not in ('done', 'failed', 'halted', 'cancelled')
