INSERT INTO projections.generations (model, generation, version, schema_name, serving, position, hash)
VALUES ($1, $2, $3, $4, true, 0, $5)
