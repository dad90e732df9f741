-- A run is over. The next epoch is nobody's.
update runs set executor = null, status = ?, output = ?, error = ?, ended_ms = ?, epoch = epoch + 1
where id = ? and status not in ('done', 'failed', 'halted', 'cancelled') and (epoch = ? or ? = -1)
