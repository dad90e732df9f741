-- All that the records know.
SELECT org FROM comptroller.events GROUP BY org
UNION DISTINCT
SELECT org FROM comptroller.snapshots GROUP BY org
