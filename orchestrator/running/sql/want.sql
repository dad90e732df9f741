-- What a person wants of a run that is at work.
update runs set wanted = ? where id = ? and status = 'running'
