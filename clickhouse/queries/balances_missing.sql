-- How many bookings after a snapshot and up to an event are in no balance of their counter: none, once
-- `take_balances` was kept, and not as long as the balance of any one counter is lost.
WITH
    booked AS
    (
        SELECT counter.1 AS field, counter.2 AS dimension, epoch, seq
        FROM comptroller.events
        ARRAY JOIN counters AS counter
        WHERE org = {org:String} AND part = 0 AND event_type != 'llm_request'
          AND epoch >= {after_epoch:UInt32} AND (epoch > {after_epoch:UInt32} OR seq > {after_seq:UInt64})
          AND epoch <= {epoch:UInt32} AND (epoch < {epoch:UInt32} OR seq <= {seq:UInt64})
    ),
    kept AS
    (
        SELECT field, dimension, max((epoch, seq)) AS place
        FROM comptroller.balances
        WHERE org = {org:String} AND field IN (SELECT field FROM booked)
        GROUP BY field, dimension
    )
SELECT count()
FROM booked
LEFT JOIN kept ON booked.field = kept.field AND booked.dimension = kept.dimension
WHERE (booked.epoch, booked.seq) > kept.place
