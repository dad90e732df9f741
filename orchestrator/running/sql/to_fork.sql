-- What another run like this one needs.
select r.org, r.scope, r.input, r.parent, d.document, d.folder
from runs r join definitions d on d.id = r.definition where r.id = ?
