-- spend by day, a month (rollup)
SELECT day, sum(charged_nusd)
FROM comptroller.spend_daily
WHERE org = 'acme' AND day >= '2026-10-20'
GROUP BY day
ORDER BY day;

-- spend by project, all time (rollup)
SELECT project, sum(charged_nusd) AS spent
FROM comptroller.spend_daily
WHERE org = 'acme'
GROUP BY project
ORDER BY spent DESC;

-- spend by hour, a day (rollup)
SELECT hour, sum(charged_nusd)
FROM comptroller.spend_hourly
WHERE org = 'acme' AND toDate(hour) = '2026-11-10'
GROUP BY hour
ORDER BY hour;

-- usage by model, a week (rollup)
SELECT model, sum(requests), sum(input_tokens), sum(output_tokens), sum(charged_usd)
FROM comptroller.usage
WHERE org = 'acme' AND day >= '2026-11-09'
GROUP BY model;

-- spend by agent, a month (rollup)
SELECT agent, sum(charged_nusd) AS spent
FROM comptroller.spend_daily
WHERE org = 'acme' AND day >= '2026-10-20'
GROUP BY agent
ORDER BY spent DESC LIMIT 10;

-- the last hundred requests (events)
SELECT time, scope, model, status, charged_usd
FROM comptroller.requests
WHERE org = 'acme'
ORDER BY epoch DESC, seq DESC LIMIT 100;

-- one request by its id (events)
SELECT *
FROM comptroller.events
WHERE request_id = lower(hex(SHA1('1234')));

-- p99 of duration by model, a week (events)
SELECT model, quantile(0.99)(duration_ms)
FROM comptroller.requests
WHERE org = 'acme' AND time >= '2026-11-09 00:00:00'
GROUP BY model;

-- what a key has spent, all time (events)
SELECT key_id, sum(charged_nusd) AS spent
FROM comptroller.events
WHERE org = 'acme'
GROUP BY key_id
ORDER BY spent DESC LIMIT 20;

-- the dearest scopes, all time (events)
SELECT scope, sum(charged_nusd) AS spent
FROM comptroller.events
WHERE org = 'acme'
GROUP BY scope
ORDER BY spent DESC LIMIT 20;

-- order of a run's 500 events, for replay (events)
SELECT epoch, seq, event_type, request_id
FROM comptroller.events
WHERE org = 'acme' AND run_id = 'run-1000' AND part = 0
ORDER BY epoch, seq;
