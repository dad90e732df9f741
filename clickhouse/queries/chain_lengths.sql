-- How many events each organisation has.
SELECT org, count()
FROM comptroller.events
WHERE part = 0
GROUP BY org
ORDER BY org
