-- How long the outputs of a step are.
select coalesce(sum(length(coalesce(b.body, t.output))), 0) from tasks t left join blobs b on b.id = t.output
where t.run = ? and t.step = ? and t.status <> 'fanned'
