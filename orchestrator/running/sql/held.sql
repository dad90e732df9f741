-- Which of these runs are whose, in which epoch; locked, in one order for all who lock.
select id, epoch, executor from runs where status = 'running' and executor is not null and id in (:runs)
order by id :update
