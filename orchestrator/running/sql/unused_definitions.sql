-- Definitions that no run and no schedule has, but for the last of each workflow, by number and by version.
delete from definitions
where not exists (select 1 from runs r where r.definition = definitions.id)
  and not exists (select 1 from schedules s where s.definition = definitions.id)
  and exists (
    select 1 from definitions l
    where l.org = definitions.org and l.name = definitions.name and l.version > definitions.version
  )
  and exists (
    select 1 from definitions l
    where l.org = definitions.org and l.name = definitions.name and l.number > definitions.number
  )
