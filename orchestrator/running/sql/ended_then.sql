-- Whether a run is over since a time: one that was tried again may have ended again.
select id from runs where id = ? and ended_ms = ?
