-- The newest events of the last days, oldest of them first.
SELECT *
FROM
(
    SELECT time, event_type, org, scope, agent, key_id, request_id, provider, model, status, tool_name,
           reserved_nusd, charged_nusd, usage_source, error, epoch, seq, part
    FROM comptroller.events
    WHERE time >= now64(3) - INTERVAL 2 DAY
    ORDER BY time DESC, org DESC, epoch DESC, seq DESC, part DESC
    LIMIT {limit:UInt32}
)
ORDER BY time, org, epoch, seq, part
