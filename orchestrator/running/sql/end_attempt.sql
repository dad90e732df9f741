-- How an attempt ended.
update attempts set status = ?, error = ?, ended_ms = ? where run = ? and step = ? and entry = ? and attempt = ?
