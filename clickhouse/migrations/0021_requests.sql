-- As 0008, with what 0014 has added: one row per call that ended, with what it cost. A late correction is a
-- row of its own in `events`; `charged_usd` here is what was booked at its end.
CREATE OR REPLACE VIEW comptroller.requests ${on_cluster} AS
SELECT time, org, scope, project, workflow, run_id, step_id, attempt, agent, key_id, request_id,
       endpoint, provider, model_requested, model, model_served, streamed, status, finish_reason, error,
       text_input + cached_input + cache_write_5m + cache_write_1h + audio_input + image_input
           + video_input AS input_tokens,
       cached_input AS cached_input_tokens,
       text_output + reasoning_output + audio_output + image_output AS output_tokens,
       reasoning_output AS reasoning_tokens,
       tool_calls, reserved_nusd, charged_nusd,
       CAST(charged_nusd AS Decimal(38, 9)) / 1000000000 AS charged_usd,
       usage_source, overrun, waited_ms, first_byte_ms, duration_ms, request_bytes, response_bytes,
       payload_state, trace_id, epoch, seq, service_tier, reported_nusd, computed_nusd,
       search_calls, audio_ms, pages, characters
FROM comptroller.events
WHERE event_type IN ('llm_response', 'reservation_expired')
