-- An event for the ledger.
insert into tellings (id, number, org, event_type, event) values (?, ?, ?, ?, ?) on conflict (id) do nothing
