-- Overruns: calls that cost more than was reserved, the largest first.
SELECT formatDateTime(time, '%Y-%m-%d %H:%i:%SZ', 'UTC') AS at, scope, agent, provider, model, request_id,
       toString(CAST(reserved_nusd AS Decimal(38, 9)) / 1000000000) AS reserved_usd,
       toString(CAST(over_nusd AS Decimal(38, 9)) / 1000000000) AS over_usd
FROM comptroller.overruns
WHERE time >= {since:DateTime('UTC')}
ORDER BY over_nusd DESC, time
LIMIT 100
