-- Which step waits for a run.
select r.parent, r.parent_step, r.parent_entry, r.status, coalesce(b.body, r.output), r.error
from runs r left join blobs b on b.id = r.output
where r.id = ? and r.parent is not null
