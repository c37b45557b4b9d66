UPDATE {schema}.chain SET commits = $1, hash = $2
