-- What the steps of one or two runs have cost, with all runs inside them: requests, tokens and charges. `right` may be
-- empty. A step is the segment below its run's scope.
SELECT toBool({right:String} != '' AND startsWith(scope, concat({right:String}, '/'))) AS is_right,
       splitByChar('/', substring(scope, length(if(is_right, {right:String}, {left:String})) + 2))[1] AS step,
       countIf(event_type != 'correction' AND usage_source != 'released') AS requests,
       sum(text_input + cached_input + cache_write_5m + cache_write_1h + audio_input + image_input + video_input)
         AS input_tokens,
       sum(text_output + reasoning_output + audio_output + image_output) AS output_tokens,
       sum(charged_nusd) AS charged_nusd
FROM comptroller.events
WHERE org IN ({left_org:String}, {right_org:String}) AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
  AND event_type IN ('llm_response', 'reservation_expired', 'correction')
  AND (startsWith(scope, concat({left:String}, '/'))
       OR ({right:String} != '' AND startsWith(scope, concat({right:String}, '/'))))
GROUP BY is_right, step
