-- What every counter comes to at an event whose window began since a time, or never ends: its
-- balance, and what was booked after that balance; field, dimension, spent. `after` is the last snapshot, before which no event is looked at; the
-- conditions are spelt out, because a comparison of tuples reads the whole key.
WITH
    kept AS
    (
        SELECT field, dimension, argMax(spent, (epoch, seq)) AS balance, max((epoch, seq)) AS place
        FROM comptroller.balances
        WHERE org = {org:String}
          AND (endsWith(field, ':0') OR toInt64OrZero(splitByChar(':', field)[-1]) >= {since_s:Int64})
        GROUP BY field, dimension
    ),
    booked AS
    (
        SELECT counter.1 AS field, counter.2 AS dimension, epoch, seq, counter.4 AS charged
        FROM comptroller.events
        ARRAY JOIN counters AS counter
        WHERE org = {org:String} AND part = 0 AND event_type != 'llm_request'
          AND epoch >= {after_epoch:UInt32} AND (epoch > {after_epoch:UInt32} OR seq > {after_seq:UInt64})
          AND epoch <= {epoch:UInt32} AND (epoch < {epoch:UInt32} OR seq <= {seq:UInt64})
    )
SELECT field, dimension, sum(amount) AS spent
FROM
(
    SELECT field, dimension, balance AS amount FROM kept
    UNION ALL
    SELECT booked.field, booked.dimension, booked.charged
    FROM booked
    LEFT JOIN kept ON booked.field = kept.field AND booked.dimension = kept.dimension
    WHERE (booked.epoch, booked.seq) > kept.place
)
GROUP BY field, dimension
