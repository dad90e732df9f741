-- What a run was given, may spend and has said: what is long only by that it is there.
select case when length(r.input) <= ? then r.input end, r.budget,
  case when length(r.output) <= ? and substr(r.output, 1, 1) <> '@' then r.output end,
  case when r.output is null then 0 else 1 end, d.document
from runs r join definitions d on d.id = r.definition where r.id = ?
