-- Calls whose true cost was above their reservation: the provider billed more than it was asked for.
-- A correction (truth that came after the reservation had expired) is the difference already.
CREATE VIEW IF NOT EXISTS comptroller.overruns ${on_cluster} AS
SELECT time, org, scope, agent, key_id, request_id, provider, model, reserved_nusd, charged_nusd,
       if(event_type = 'correction', charged_nusd, charged_nusd - reserved_nusd) AS over_nusd, usage_source, epoch, seq
FROM comptroller.events
WHERE overrun = 1
