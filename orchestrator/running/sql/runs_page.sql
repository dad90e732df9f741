-- Runs as a list has them, the newest first: ids begin with their time.
select r.id, r.org, r.scope, r.workflow, r.version, r.status, r.wanted, r.error, r.by_whom, r.named, r.parent,
  r.parent_step, r.parent_entry, r.forked_from, r.created_ms, r.ended_ms, r.wake_at_ms
from runs r where :where order by r.id desc limit ?
