-- Organisations with events of late, and where each ended before the given time.
SELECT org, maxIf((epoch, seq), time < fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')) AS last
FROM comptroller.events
WHERE time >= now64(3) - INTERVAL 1 HOUR
GROUP BY org
