-- The same for what is there already: in the background, and until then its events are added up.
ALTER TABLE comptroller.events ${on_cluster}
    MATERIALIZE PROJECTION hourly_meters,
    MATERIALIZE PROJECTION daily_meters
