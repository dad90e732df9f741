-- Steps that have failed before an attempt of theirs began: whether and how often they run is decided anew.
delete from tasks where run = ? and status = 'failed' and attempt = 0
