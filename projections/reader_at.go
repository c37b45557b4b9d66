package projections

import "context"

// At says which state of the ledger reads of a model reflect now.
func (r *Reader) At(ctx context.Context, model string) (At, error) {
	g, err := serving(ctx, r.pool, model)
	if err != nil {
		return At{}, publicError(model, err)
	}
	return At{Position: g.position, Age: g.age}, nil
}
