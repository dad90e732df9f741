-- The definition of a run.
select d.document from runs r join definitions d on d.id = r.definition where r.id = ?
