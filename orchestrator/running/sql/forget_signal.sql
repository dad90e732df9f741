-- A step has read what it was told.
delete from signals where run = ? and step = ? and entry = ?
