-- What is submitted again and again. `document` is the definition with the files inside it, as JSON, and `definition`
-- its id; `next_ms`: when the next run is due; `last_run`: the one that was submitted last; `error`: why the last time
-- came to nothing; `paused`: 1 by somebody, 2 because it could not go on.
create table schedules (
  org text not null,
  name text not null,
  scope text not null,
  workflow text not null,
  definition text not null,
  document text not null,
  folder text not null,
  input text not null,
  cron text not null,
  zone text not null,
  next_ms bigint not null,
  paused bigint not null default 0,
  by_whom text not null,
  created_ms bigint not null,
  last_run text,
  error text not null default '',
  primary key (org, name)
);
create index schedules_due on schedules (next_ms) where paused = 0;
