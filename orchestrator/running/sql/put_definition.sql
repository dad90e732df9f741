-- A workflow as it is written now.
insert into definitions (id, org, name, version, document, folder, created_ms) values (?, ?, ?, ?, ?, ?, ?)
on conflict do nothing
