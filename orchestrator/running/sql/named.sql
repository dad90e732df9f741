-- The run that was submitted under a name.
select id, version, definition, input, terms from runs where org = ? and named = ?
