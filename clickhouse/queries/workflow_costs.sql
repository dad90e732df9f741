-- What runs of a workflow that began since a time and are done have cost, the newest of them: half of them at most,
-- and 19 of 20 at most; each step's, and in the row without a step the whole run's. A charge is that of every run
-- whose scope it is below, and of the step that is the next segment there; a run without one has cost nothing.
WITH
    forked AS
    (
        SELECT run_id
        FROM comptroller.events
        WHERE ({org:String} = '' OR org = {org:String}) AND workflow = {workflow:String} AND event_type = 'run_submitted'
          AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND JSONExtractString(JSONExtractString(detail, 'detail'), 'forked_from') != ''
    ),
    -- Ids are in the order of time: those that began before it are left out, whose charges are not all looked at.
    done AS
    (
        SELECT run_id
        FROM comptroller.events
        WHERE ({org:String} = '' OR org = {org:String}) AND workflow = {workflow:String} AND event_type = 'run_completed'
          AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND run_id >= concat('r', right(concat('00000000000', lower(hex({since_ms:Int64}))), 11))
          AND JSONExtractString(JSONExtractString(detail, 'detail'), 'status') = 'done'
          AND run_id NOT IN (SELECT run_id FROM forked)
        GROUP BY run_id
        ORDER BY run_id DESC
        LIMIT {runs_max:UInt32}
    ),
    charged AS
    (
        SELECT splitByChar('/', scope) AS segments, arrayJoin(arrayEnumerate(segments)) AS place,
               segments[place] AS run, segments[place + 1] AS step, sum(charged_nusd) AS nusd
        FROM comptroller.events
        WHERE ({org:String} = '' OR org = {org:String})
          AND time >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
          AND event_type IN ('llm_response', 'reservation_expired', 'correction') AND run_id != ''
          AND run IN (SELECT run_id FROM done) AND step != ''
        GROUP BY segments, place
    ),
    costs AS
    (
        SELECT run, step, sum(nusd) AS nusd FROM charged GROUP BY run, step
        UNION ALL
        SELECT run_id, '', sumIf(nusd, run != '') FROM done LEFT JOIN charged ON run_id = run GROUP BY run_id
    )
SELECT step, assumeNotNull((SELECT count() FROM done)) AS runs,
       arrayReduce('quantilesExact(0.5, 0.95)', arrayResize(groupArray(nusd), runs, 0)) AS quantiles
FROM costs
GROUP BY step
ORDER BY step
LIMIT 5000
