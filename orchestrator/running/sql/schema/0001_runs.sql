-- Runs of workflows, in SQLite and in PostgreSQL. Times are milliseconds since 1970; `org` is the
-- organisation. Nothing here holds a key or a secret.

-- A workflow as it was when a run of it was submitted: a changed one is another row. `document` is
-- the definition with the files inside it, as JSON; `id` its SHA-256 with name and organisation; `number`: the greatest
-- is of the one that was submitted last, which may be an old one again.
create table definitions (
  id text primary key,
  org text not null,
  name text not null,
  version bigint not null,
  number bigint not null,
  document text not null,
  folder text not null,
  created_ms bigint not null
);
create unique index definitions_by_version on definitions (org, name, version);

-- `epoch` counts up with each owner, and with each decision that ends an owner's: whoever writes
-- names the one that he knows. `wanted`: what a person wants of it while it runs (`pause`).
-- `fences`: of a run that a step has started, what its keys name of the steps above (JSON).
-- `limited_steps`: those with budgets of their own, by comma.
-- `terms`: what the same submission under its name says beside definition and input (JSON).
-- `told_by`: the event of the run itself, not of a step, that was told last.
-- `scope_open`: the ledger may still admit its keys, and its end is not told yet.
create table runs (
  id text primary key,
  org text not null,
  scope text not null,
  definition text not null,
  workflow text not null,
  version bigint not null,
  input text not null,
  budget text not null,
  status text not null,
  wanted text not null default '',
  epoch bigint not null default 0,
  executor text,
  wake_at_ms bigint,
  output text,
  error text not null default '',
  by_whom text not null,
  named text,
  terms text not null,
  parent text,
  parent_step text,
  parent_entry bigint,
  forked_from text,
  depth bigint not null default 0,
  on_exhausted text not null,
  limited_steps text not null,
  runs_at_once bigint,
  fences text not null default '[]',
  told_by text not null default '',
  scope_open bigint not null default 1,
  created_ms bigint not null,
  ended_ms bigint
);
create unique index runs_by_name on runs (org, named) where named is not null;
create index runs_due on runs (status, wake_at_ms);
create index runs_by_executor on runs (executor) where executor is not null;
create index runs_by_scope on runs (scope);
create index runs_by_age on runs (org, created_ms);
create index runs_at_work on runs (org, workflow) where status = 'running';
create index runs_by_parent on runs (parent) where parent is not null;

-- A step (entry -1), or an entry of its foreach. `bytes`: how long `output` and `last` are, wherever they are kept; before
-- them, so that who adds it up does not read them.
create table tasks (
  run text not null,
  step text not null,
  entry bigint not null,
  status text not null,
  attempt bigint not null,
  failures bigint not null,
  round bigint not null,
  wake_at_ms bigint,
  begun_ms bigint not null,
  ended_ms bigint,
  bytes bigint not null default 0,
  output text,
  last text,
  error text not null,
  told_by text not null,
  primary key (run, step, entry)
);

create table attempts (
  run text not null,
  step text not null,
  entry bigint not null,
  attempt bigint not null,
  epoch bigint not null,
  executor text not null,
  status text not null,
  error text not null default '',
  started_ms bigint not null,
  ended_ms bigint,
  primary key (run, step, entry, attempt)
);

-- What somebody told a step that waits: a decision, a callback, the end of a run inside it.
create table signals (
  run text not null,
  step text not null,
  entry bigint not null,
  by_whom text not null,
  at_ms bigint not null,
  payload text not null,
  primary key (run, step, entry)
);

-- Outputs that are too long for a row, once each, by SHA-256.
create table blobs (
  id text primary key,
  body text not null
);

-- Who executes, until when its runs are its own.
create table executors (
  id text primary key,
  lease_until_ms bigint not null
);

-- Events that the ledger has not taken yet, in their order.
create table tellings (
  id text primary key,
  number bigint not null,
  org text not null,
  event_type text not null,
  event text not null
);
create index tellings_in_order on tellings (number);
create index runs_to_close on runs (ended_ms) where scope_open = 1 and ended_ms is not null;
