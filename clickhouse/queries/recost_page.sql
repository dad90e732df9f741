-- Requests of an organisation whose provider said what they used, in the order of the log after a place,
-- each with all that was charged for it so far and the last event that did: truth that came late and
-- corrections before are events of their own. Which counters it touched is what it reserved of; no request
-- runs for a day before its provider says what it used.
WITH
    page AS
    (
        SELECT epoch, seq, time, request_id, scope, workflow, workflow_version, run_id, step_id, attempt, agent,
               key_id, endpoint, provider, model_requested, model, model_served, text_input, cached_input,
               cache_write_5m, cache_write_1h, audio_input, image_input, text_output, reasoning_output,
               audio_output, tool_calls, duration_ms, counters, video_input, image_output, search_calls, audio_ms,
               pages, characters, service_tier, reported_nusd, detail
        FROM comptroller.events
        WHERE org = {org:String} AND part = 0
          AND event_type IN ('llm_response', 'correction') AND usage_source = 'provider'
          AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND time < fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')
          AND ({model:String} = '' OR model_requested = {model:String} OR model = {model:String})
          AND epoch >= {at_epoch:UInt32} AND (epoch > {at_epoch:UInt32} OR seq > {at_seq:UInt64})
        ORDER BY org, epoch, seq
        LIMIT {limit:UInt32}
    ),
    booked AS
    (
        SELECT request_id,
               sumIf(charged_nusd, event_type != 'llm_request') AS charged,
               maxIf((epoch, seq), event_type != 'llm_request') AS last,
               argMaxIf(price_version, (epoch, seq), event_type != 'llm_request') AS version,
               anyIf(counters, event_type = 'llm_request') AS asked,
               maxIf(toUnixTimestamp64Milli(time), event_type = 'llm_request') AS asked_ms
        FROM comptroller.events
        WHERE org = {org:String} AND part = 0
          AND event_type IN ('llm_request', 'llm_response', 'reservation_expired', 'correction')
          AND time >= fromUnixTimestamp64Milli({since_ms:Int64} - 86400000, 'UTC')
          AND request_id IN (SELECT request_id FROM page)
        GROUP BY request_id
    )
SELECT page.epoch AS epoch, page.seq AS seq, toUnixTimestamp64Milli(page.time) AS time_ms,
       page.request_id AS request_id, scope, workflow, workflow_version, run_id, step_id, attempt, agent, key_id,
       endpoint, provider, model_requested, model, model_served, text_input, cached_input, cache_write_5m,
       cache_write_1h, audio_input, image_input, text_output, reasoning_output, audio_output, tool_calls,
       duration_ms, booked.charged AS charged_nusd, booked.last.1 AS last_epoch, booked.last.2 AS last_seq,
       booked.version AS price_version, booked.asked_ms AS asked_ms,
       arrayMap(c -> (c.1, c.2, c.3, c.4), booked.asked) AS asked,
       arrayMap(c -> (c.1, c.2, c.3, c.4), page.counters) AS ended, video_input, image_output, search_calls,
       audio_ms, pages, characters, service_tier, reported_nusd, detail
FROM page
INNER JOIN booked ON page.request_id = booked.request_id
ORDER BY epoch, seq
