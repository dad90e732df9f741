-- A run that has asked for more goes on with it.
update runs set budget = ?, status = 'queued', error = '' where id = ? and status = 'asking'
