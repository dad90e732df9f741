-- Outputs of a step and of its entries, whole.
select t.entry, t.status, coalesce(b.body, t.output) from tasks t left join blobs b on b.id = t.output
where t.run = ? and t.step = ? and t.entry >= ? and t.entry <= ? order by t.entry
