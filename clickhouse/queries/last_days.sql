-- The days (as 20261124) of organisations' last events: what comes next stands on them.
SELECT DISTINCT toYYYYMMDD(last) FROM (SELECT max(time) AS last FROM comptroller.events GROUP BY org)
