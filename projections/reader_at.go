package projections

import "context"

// At says which state of the ledger reads of a model reflect now. A model whose tables were
// dropped is missing, though its checkpoint may be there.
func (r *Reader) At(ctx context.Context, model string) (At, error) {
	g, err := serving(ctx, r.pool, model)
	var exists bool
	if err == nil {
		err = r.pool.QueryRow(ctx, schemaExistsSQL, g.schema).Scan(&exists)
	}
	switch {
	case err != nil:
		return At{}, publicError(model, err)
	case !exists:
		return At{}, missing(nil, model)
	}
	return At{Position: g.position, Age: g.age}, nil
}
