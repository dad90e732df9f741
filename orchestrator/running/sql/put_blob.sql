-- A long output, once.
insert into blobs (id, body) values (?, ?) on conflict (id) do nothing
