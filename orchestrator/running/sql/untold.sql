-- Events that the ledger has not taken, the first ones first.
select id, org, event_type, event from tellings order by number limit ?
