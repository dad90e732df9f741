-- Events before a place, newest first: of an organisation ('': of all), in the order of the log. The
-- condition on the place is spelt out, because a comparison of tuples reads the whole key.
SELECT org, epoch, seq, part, toUnixTimestamp64Milli(time) AS time_ms, event_type, request_id, correlation_id,
       scope, project, workflow, workflow_version, run_id, step_id, attempt, agent, key_id, triggered_by, by,
       endpoint, provider, model_requested, model, model_served, toBool(streamed) AS streamed, status,
       finish_reason, error, text_input, cached_input, cache_write_5m, cache_write_1h, audio_input, image_input,
       text_output, reasoning_output, audio_output, tool_calls, input_tokens_max, output_cap_asked,
       output_tokens_max, reserved_nusd, charged_nusd, price_version, usage_source, toBool(overrun) AS overrun,
       waited_ms, first_byte_ms, duration_ms, overhead_us, request_bytes, response_bytes, request_sha256,
       response_sha256, payload_state, trace_id, counters, detail, video_input, image_output, search_calls,
       audio_ms, pages, characters, service_tier, reported_nusd, computed_nusd, tool_name, tool_call_id,
       tool_state, tool_bytes, tool_sha256, prev_hash, hash
FROM comptroller.events
WHERE ({org:String} = '' OR org = {org:String})
  AND ({scope:String} = '' OR scope = {scope:String} OR startsWith(scope, concat({scope:String}, '/')))
  AND ({run:String} = '' OR run_id = {run:String})
  AND ({key:String} = '' OR key_id = {key:String})
  AND ({type:String} = '' OR event_type = {type:String})
  AND ({at_org:String} = '' OR org <= {at_org:String})
  AND ({at_org:String} = '' OR org < {at_org:String} OR epoch < {at_epoch:UInt32}
       OR (epoch = {at_epoch:UInt32} AND (seq < {at_seq:UInt64} OR (seq = {at_seq:UInt64} AND part < {at_part:UInt16}))))
ORDER BY org DESC, epoch DESC, seq DESC, part DESC
LIMIT {limit:UInt32}
