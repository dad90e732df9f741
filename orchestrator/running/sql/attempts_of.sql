-- Attempts at a step and some of its entries, the newest first.
select entry, attempt, status, substr(error, 1, 4096), started_ms, ended_ms from attempts
where run = ? and step = ? and entry >= ? and entry <= ? order by started_ms desc, entry, attempt desc limit ?
