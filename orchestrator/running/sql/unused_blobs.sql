-- Long outputs that no row has.
delete from blobs
where id not in (
  select output from tasks where substr(output, 1, 1) = '@'
  union select last from tasks where substr(last, 1, 1) = '@'
  union select output from runs where substr(output, 1, 1) = '@'
  union select payload from signals where substr(payload, 1, 1) = '@'
)
