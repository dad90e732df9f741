-- An event of a run itself: what is told next of that follows from it.
update runs set told_by = ? where id = ?
