-- Requests that ended in a time, by day and the model that served: how many, of how many the provider said
-- what they used, and how much that was; what all were charged, later corrections included, and what those
-- were of which nobody said it. Whatever was released or settled at zero is no request of the provider's.
SELECT toString(toDate(ended_at)) AS day, if(served = '', asked, served) AS model,
       countIf(told) AS told_requests, countIf(NOT told) AS untold_requests,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(charged) AS charged_nusd, sumIf(charged, NOT told) AS untold_nusd
FROM
(
    SELECT request_id, min(time) AS ended_at, max(model_served) AS served, max(events.model) AS asked,
           max(usage_source = 'provider') AS told,
           max(usage_source IN ('released', 'none')) AS free,
           countIf(event_type != 'correction') AS ends,
           sum(charged_nusd) AS charged,
           sum(text_input + cached_input + cache_write_5m + cache_write_1h + audio_input + image_input
               + video_input) AS input_tokens,
           sum(text_output + reasoning_output + audio_output + image_output) AS output_tokens
    FROM events
    WHERE part = 0 AND event_type IN ('llm_response', 'reservation_expired', 'correction')
      AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
    GROUP BY org, request_id
    HAVING ends > 0 AND (told OR NOT free) AND ended_at < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
)
GROUP BY day, model
ORDER BY day, model
