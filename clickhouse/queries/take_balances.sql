-- Brings the balances of all counters that were touched since the last snapshot up to an event, so
-- that no earlier event is needed for them any more. Parameters by template: this is a statement.
INSERT INTO comptroller.balances (org, field, dimension, epoch, seq, time_ms, spent)
WITH
    kept AS
    (
        SELECT field, dimension, argMax(spent, (epoch, seq)) AS balance, max((epoch, seq)) AS place
        FROM comptroller.balances
        WHERE org = $org
        GROUP BY field, dimension
    ),
    booked AS
    (
        SELECT counter.1 AS field, counter.2 AS dimension, epoch, seq, counter.4 AS charged
        FROM comptroller.events
        ARRAY JOIN counters AS counter
        WHERE org = $org AND part = 0 AND event_type != 'llm_request'
          AND epoch >= $after_epoch AND (epoch > $after_epoch OR seq > $after_seq)
          AND epoch <= $epoch AND (epoch < $epoch OR seq <= $seq)
    )
SELECT $org, booked.field, booked.dimension, $epoch, $seq, $time_ms, any(kept.balance) + sum(booked.charged)
FROM booked
LEFT JOIN kept ON booked.field = kept.field AND booked.dimension = kept.dimension
WHERE (booked.epoch, booked.seq) > kept.place
GROUP BY booked.field, booked.dimension
