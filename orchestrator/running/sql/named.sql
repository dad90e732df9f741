-- The run that was submitted under a name.
select id, version, definition, input from runs where org = ? and named = ?
