-- Requests of a time that have not ended yet, by day and model: how many, and what is reserved for them.
SELECT toString(toDate(time)) AS day, model, count() AS requests, sum(reserved_nusd) AS reserved_nusd
FROM events
WHERE part = 0 AND event_type = 'llm_request'
  AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND time < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
  AND (org, request_id) NOT IN
  (
      SELECT org, request_id
      FROM events
      WHERE part = 0 AND event_type IN ('llm_response', 'reservation_expired')
        AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  )
GROUP BY day, model
ORDER BY day, model
