-- What an executor has, and what people want of it.
select id, epoch, wanted from runs where executor = ? and status = 'running'
