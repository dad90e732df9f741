-- To be begun by another executor: what the last one still writes does not count.
update runs set status = 'queued', executor = null, epoch = epoch + 1
where id = ? and status = 'running' and executor = ?
