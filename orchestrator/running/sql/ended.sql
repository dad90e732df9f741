-- How a run stands, and what came of it.
select r.status, coalesce(b.body, r.output), r.error from runs r left join blobs b on b.id = r.output where r.id = ?
