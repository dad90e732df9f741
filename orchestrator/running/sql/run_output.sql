-- What a run has said at its end.
select r.status, coalesce(b.body, r.output) from runs r left join blobs b on b.id = r.output where r.id = ?
