INSERT INTO projections.generations (model, generation, version, schema_name, serving, state, position, hash)
VALUES ($1, $2, $3, $4, $5, $6, 0, $7)
