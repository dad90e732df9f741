-- Claims of a workflow's runs go one after the other.
select id from definitions where org = ? and name = ? order by id :update
