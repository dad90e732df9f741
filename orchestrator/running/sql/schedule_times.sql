-- When a schedule is due, for whoever changes that.
select cron, zone from schedules where org = ? and name = ? :update
