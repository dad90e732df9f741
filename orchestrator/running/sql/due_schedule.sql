-- What a schedule that is due submits. Whoever else looks meanwhile leaves it.
select scope, document, folder, input, cron, zone, next_ms, by_whom from schedules
where org = ? and name = ? and paused = 0 and next_ms <= ? :locked
