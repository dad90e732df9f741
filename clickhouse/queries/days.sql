-- The days (partitions, as 20261124) that a table has before a day, oldest first.
SELECT DISTINCT toYYYYMMDD(time) AS day
FROM comptroller.{table:Identifier}
WHERE toYYYYMMDD(time) < {before:UInt32}
ORDER BY day
