-- What the ledger asks about scopes that it does not have: kind, name, place (epoch, seq), number, text.
-- `scope`, `policy`, `key`: text as it stands (cuts: see states_at.sql). `spent`: the last balance of a counter. `log`: the last
-- seq between a snapshot that was there before (`after_seq`) and the event that must be included
-- (`through_seq`), and what was booked there on the counters, each with its place: one reading of the
-- log tells both, so that where the last event is, all before it is. A seq is told once in all epochs.
WITH
    (
        SELECT groupArray((toUInt32(name), toUInt32(splitByChar(' ', text)[1]), toUInt64(splitByChar(' ', text)[2])))
        FROM comptroller.states
        WHERE org = {org:String} AND kind = 'epoch'
    ) AS cuts
SELECT kind, name, toUInt32(0) AS epoch, toUInt64(0) AS seq, toInt64(0) AS number, argMax(states.text, (states.epoch, states.seq)) AS text
FROM comptroller.states
WHERE org = {org:String}
  AND ((kind IN ('scope', 'policy') AND name IN {scopes:Array(String)}) OR (kind = 'key' AND name IN {keys:Array(String)}))
  AND NOT arrayExists(cut -> states.epoch < cut.1 AND (states.epoch, states.seq) > (cut.2, cut.3), cuts)
GROUP BY kind, name
UNION ALL
SELECT 'spent', field, tupleElement(max((balances.epoch, balances.seq)), 1), tupleElement(max((balances.epoch, balances.seq)), 2),
       argMax(spent, (balances.epoch, balances.seq)), ''
FROM comptroller.balances
WHERE org = {org:String} AND field IN {fields:Array(String)}
GROUP BY field
UNION ALL
SELECT 'log', '', toUInt32(0), max(events.seq), toInt64(0),
       toJSONString(groupArrayArray(arrayMap(c -> (c.1, events.epoch, events.seq, c.4),
           arrayFilter(c -> event_type != 'llm_request' AND has({fields:Array(String)}, c.1), counters))))
FROM comptroller.events
WHERE org = {org:String} AND part = 0
  AND events.seq > {after_seq:UInt64} AND events.seq <= {through_seq:UInt64}
