-- Refusals: which budget said no, why, to whom, and how often.
SELECT if(JSONExtractString(detail, 'scope') = '', scope, JSONExtractString(detail, 'scope')) AS refused_by,
       reason, JSONExtractString(detail, 'dimension') AS dimension, JSONExtractString(detail, 'window') AS window,
       key_id AS key, agent, sum(JSONExtractUInt(detail, 'count')) AS refused,
       formatDateTime(max(time), '%Y-%m-%d %H:%i:%SZ', 'UTC') AS last
FROM comptroller.refusals
WHERE time >= {since:DateTime('UTC')}
GROUP BY refused_by, reason, dimension, window, key, agent
ORDER BY refused DESC, refused_by, reason, key
LIMIT 1000
