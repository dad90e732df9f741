-- A workflow by its name, as it was submitted last.
select id, document, folder from definitions where org = ? and name = ? order by number desc, version desc limit 1
