-- What a day comes to: number of rows and charge, by its events and by its archived hours.
SELECT (SELECT (count(), sum(charged_nusd)) FROM comptroller.events WHERE toYYYYMMDD(time) = {day:UInt32}),
       (SELECT (sum(events), sum(charged_nusd)) FROM comptroller.hours FINAL WHERE toYYYYMMDD(hour) = {day:UInt32})
