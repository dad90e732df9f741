-- Versions of a workflow, the newest first.
select id, version from definitions where org = ? and name = ? order by version desc limit 1
