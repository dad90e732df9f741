-- Attempts at each step of a run: how many, and when the first began.
select step, count(*), min(started_ms) from attempts where run = ? group by step
