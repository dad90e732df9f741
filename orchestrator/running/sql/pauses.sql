-- Whether a run is paused, or is to be.
select id from runs where id = ? and (wanted = 'pause' or status = 'paused')
