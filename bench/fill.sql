-- Events $first to $first + $count of $total, over sixty days: a request and an answer each, fifty
-- workflows, two hundred keys, runs of five hundred events.
INSERT INTO comptroller.events
    (hash, prev_hash, part, org, epoch, seq, time, event_type, request_id, scope, project, workflow, run_id,
     step_id, agent, key_id, endpoint, provider, model_requested, model, model_served, status, finish_reason,
     text_input, cached_input, text_output, output_tokens_max, reserved_nusd, charged_nusd, price_version,
     usage_source, first_byte_ms, duration_ms, request_bytes, response_bytes, request_sha256, response_sha256,
     payload_state, counters)
SELECT lower(hex(SHA256(toString(n)))), lower(hex(SHA256(toString(n - 1)))), 0, 'acme', 1, n,
       fromUnixTimestamp64Milli(toInt64(1790000000000 + n * (60 * 86400000 / $total)), 'UTC'),
       if(n % 2 = 0, 'llm_request', 'llm_response'), lower(hex(SHA1(toString(intDiv(n, 2))))),
       concat('acme/p', toString(w % 10), '/w', toString(w), '/run-', toString(intDiv(n, 500)), '/step-', toString(h % 5)),
       concat('p', toString(w % 10)), concat('w', toString(w)), concat('run-', toString(intDiv(n, 500))),
       concat('step-', toString(h % 5)), concat('agent-', toString(w % 40)), concat('key-', toString(h % 200)),
       '/v1/chat/completions', if(w % 3 = 0, 'openai', 'anthropic'), 'gpt-5-mini', concat('model-', toString(w % 6)),
       'gpt-5-mini-2026', 200, 'stop', 100 + h % 1000, h % 50, 50 + h % 500, 8192, 9000000,
       if(n % 2 = 0, 0, 1000000 + h % 777777), 'v1', if(n % 2 = 0, '', 'provider'), 300 + h % 200, 900 + h % 4000,
       1024, 2048, lower(hex(SHA256(toString(n + 1)))), if(n % 2 = 0, '', lower(hex(SHA256(toString(n + 2))))), 'full',
       arrayMap(i -> tuple(concat('c:', toString(100 + i), '.0:1790000000'), 1, toInt64(1000000 + h % 777), 900000), range(5))
FROM
(
    SELECT number + $first AS n, intHash32(intDiv(n, 2)) AS h, intDiv(n, 500) % 50 AS w
    FROM numbers($count)
)
SETTINGS max_partitions_per_insert_block = 0
