-- Whether a run is over, until the end of the transaction.
select id from runs where id = ? and ended_ms is not null :update
