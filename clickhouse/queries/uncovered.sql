-- Organisations whose last event of a day is behind their last snapshot: org, and the end of the log of
-- each: epoch, seq, hash, time in ms.
WITH
    last_of_day AS
    (
        SELECT org, max((epoch, seq)) AS last
        FROM comptroller.events
        WHERE toYYYYMMDD(time) = {day:UInt32} AND part = 0
        GROUP BY org
    ),
    covered AS
    (
        SELECT org, max((epoch, seq)) AS upto
        FROM comptroller.snapshots
        GROUP BY org
    )
SELECT events.org, max(events.epoch), argMax(events.seq, (events.epoch, events.seq)),
       argMax(events.hash, (events.epoch, events.seq)),
       argMax(toUnixTimestamp64Milli(events.time), (events.epoch, events.seq))
FROM comptroller.events AS events
WHERE events.part = 0 AND events.org IN
(
    SELECT last_of_day.org
    FROM last_of_day
    LEFT JOIN covered ON last_of_day.org = covered.org
    WHERE last_of_day.last > covered.upto
)
GROUP BY events.org
