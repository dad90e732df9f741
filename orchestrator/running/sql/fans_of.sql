-- Entries of each foreach of a run, by how they are.
select step, status, count(*), min(begun_ms), max(ended_ms) from tasks where run = ? and entry >= 0 group by step, status
