-- A workflow as it is written now.
insert into definitions (id, org, name, version, document, folder, created_ms, number)
select ?, ?, ?, ?, ?, ?, ?, coalesce(max(number), 0) + 1 from definitions where org = ? and name = ?
on conflict do nothing
