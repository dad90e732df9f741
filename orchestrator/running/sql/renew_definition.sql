-- A workflow is again as it was written once.
update definitions set number = 1 + (
    select max(l.number) from definitions l where l.org = definitions.org and l.name = definitions.name
  )
where id = ? and number < (
    select max(l.number) from definitions l where l.org = definitions.org and l.name = definitions.name
  )
