-- Events of $count children from the $first on that were used once each, two hours before $now_ms, in the shape of real
-- ones: a request and its answer of each, from seq $after_seq on.
INSERT INTO comptroller.events (hash, prev_hash, part, org, epoch, seq, time, event_type, request_id, scope, charged_nusd, counters)
SELECT lower(hex(sipHash128(n))), lower(hex(sipHash128(n - 1))), 0, '$org', 1, $after_seq + n + 1,
       fromUnixTimestamp64Milli(toInt64($now_ms - 7200000 + intDiv(n, 1000)), 'UTC'),
       if(n % 2 = 0, 'llm_request', 'llm_response'), lower(hex(sipHash128(intDiv(n, 2)))),
       concat('$org/run-', toString(intDiv(n, 2))), if(n % 2 = 0, 0, 70),
       [tuple(concat('c:$limit:$org/run-', toString(intDiv(n, 2)), ':0'), 1, 100, if(n % 2 = 0, 0, 70))]
FROM (SELECT 2 * $first + number AS n FROM numbers(2 * $count))
SETTINGS max_partitions_per_insert_block = 0
