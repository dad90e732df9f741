-- Outputs of a step and of its entries as they stand in their rows: the same texts and references are the same outputs.
select entry, output from tasks where run = ? and step = ? and status <> 'fanned' order by entry
