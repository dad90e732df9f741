-- Slowest calls, with what they waited for.
SELECT formatDateTime(time, '%Y-%m-%d %H:%i:%SZ', 'UTC') AS at, scope, agent, model, status,
       duration_ms, waited_ms, first_byte_ms, output_tokens, request_id
FROM comptroller.requests
WHERE time >= {since:DateTime('UTC')}
ORDER BY duration_ms DESC, time
LIMIT 50
