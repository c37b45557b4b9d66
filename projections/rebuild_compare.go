package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// examplesMost is how many rows of a table that differ are shown.
const examplesMost = 5

var (
	tablesSQL  = statement("compare/tables.sql")
	columnsSQL = statement("compare/columns.sql")
	keySQL     = statement("compare/key.sql")
)

// Comparison is two generations of a model at one position, row by row.
type Comparison struct {
	Model      string `json:"model"`
	Position   uint64 `json:"position"`
	Old        int    `json:"old_generation"` // the one that serves
	New        int    `json:"new_generation"`
	OldVersion int    `json:"old_version"`
	NewVersion int    `json:"new_version"`
	Rows       int64  `json:"rows"` // of the new one
	// Differences are those of the tables that differ.
	Differences []Difference `json:"differences,omitempty"`
}

// Equal tells whether there is no difference at all.
func (c Comparison) Equal() bool { return len(c.Differences) == 0 }

// Difference is how a table differs.
type Difference struct {
	Table string `json:"table"`
	// Shape says how the table itself differs; empty: it does not. Where it has a key and
	// columns in both, their values are compared all the same.
	Shape   string `json:"shape,omitempty"`
	OnlyOld int64  `json:"rows_only_in_old,omitempty"`
	OnlyNew int64  `json:"rows_only_in_new,omitempty"`
	Changed int64  `json:"rows_changed,omitempty"`
	// Examples are the first rows that differ.
	Examples []RowDifference `json:"examples,omitempty"`
}

// RowDifference is a row, as PostgreSQL writes it; empty: it is not there.
type RowDifference struct {
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// compare compares the build with what serves. Both are seen in one snapshot, which is
// taken while what serves waits; it goes on while they are compared. The comparison is nil
// where nothing serves that readers rely on.
func (r *Rebuild) compare(ctx context.Context, b *build) (*Comparison, error) {
	r.tell(b, RebuildStep{Step: StepComparing})
	pooled, err := r.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer pooled.Release()
	var c *Comparison
	var old generation
	var snapshot pgx.Tx
	err = r.paused(ctx, b, func(_ pgx.Tx, held *served) error {
		if held == nil || !held.whole {
			return nil
		}
		old = held.generation
		c = &Comparison{Model: b.model.Name, Position: old.position, Old: old.number, New: b.tenure.number,
			OldVersion: old.version, NewVersion: b.tenure.version}
		if snapshot, err = pooled.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
			return err
		}
		_, err = snapshot.Exec(ctx, "SELECT FROM projections.generations") // the first query takes the snapshot
		return err
	})
	if snapshot != nil {
		// Nothing was written, and an error of the connection's shows in what follows.
		defer func() { _ = snapshot.Rollback(context.WithoutCancel(ctx)) }()
	}
	if err != nil || c == nil {
		return nil, err
	}
	// Merged along the keys' indexes: a hash table of everything would not fit in memory.
	if _, err := snapshot.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
		return nil, err
	}
	if _, err := snapshot.Exec(ctx, "SET LOCAL enable_hashjoin = off"); err != nil {
		return nil, err
	}
	return c, c.look(ctx, snapshot, old.schema, b.tenure.schema)
}

// look compares all tables of two schemas.
func (c *Comparison) look(ctx context.Context, tx pgx.Tx, old, new string) error {
	before, err := tablesOf(ctx, tx, old)
	if err != nil {
		return err
	}
	after, err := tablesOf(ctx, tx, new)
	if err != nil {
		return err
	}
	for _, table := range slices.Compact(slices.Sorted(slices.Values(append(before, after...)))) {
		d := Difference{Table: table}
		switch {
		case !slices.Contains(after, table):
			d.Shape = "it is gone"
		case !slices.Contains(before, table):
			d.Shape = "it is new"
		default:
			p := pairOfTables{table: table, old: old, new: new}
			if err := p.compare(ctx, tx, &d, &c.Rows); err != nil {
				return fmt.Errorf("compare %s: %w", table, err)
			}
		}
		if d.Shape != "" || d.OnlyOld+d.OnlyNew+d.Changed > 0 {
			c.Differences = append(c.Differences, d)
		}
	}
	return nil
}

func tablesOf(ctx context.Context, tx pgx.Tx, schema string) ([]string, error) {
	rows, _ := tx.Query(ctx, tablesSQL, schema) // an error comes out of the rows as well
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// pairOfTables is a table as it is in two schemas.
type pairOfTables struct {
	table, old, new string
	columns, key    []string // that both have
}

func (p *pairOfTables) compare(ctx context.Context, tx pgx.Tx, d *Difference, rows *int64) error {
	if err := p.shape(ctx, tx, d); err != nil || len(p.key) == 0 {
		return err
	}
	counts := p.statement("SELECT count({new_key}), count(*) FILTER (WHERE {new_key} IS NULL), count(*) FILTER (WHERE {old_key} IS NULL), " +
		"count(*) FILTER (WHERE {old_key} IS NOT NULL AND {new_key} IS NOT NULL AND o *<> n) FROM {both}")
	var n int64
	if err := tx.QueryRow(ctx, counts).Scan(&n, &d.OnlyOld, &d.OnlyNew, &d.Changed); err != nil {
		return err
	}
	*rows += n
	if d.OnlyOld+d.OnlyNew+d.Changed == 0 {
		return nil
	}
	examples := p.statement(fmt.Sprintf("SELECT CASE WHEN {old_key} IS NULL THEN '' ELSE o::text END, CASE WHEN {new_key} IS NULL THEN '' ELSE n::text END "+
		"FROM {both} WHERE {old_key} IS NULL OR {new_key} IS NULL OR o *<> n LIMIT %d", examplesMost))
	found, _ := tx.Query(ctx, examples) // an error comes out of the rows as well
	var err error
	d.Examples, err = pgx.CollectRows(found, pgx.RowToStructByPos[RowDifference])
	return err
}

// shape finds what both tables have, and notes what they do not.
func (p *pairOfTables) shape(ctx context.Context, tx pgx.Tx, d *Difference) error {
	var lists [2][]string
	for i, schema := range []string{p.old, p.new} {
		rows, _ := tx.Query(ctx, columnsSQL, schema, p.table) // an error comes out of the rows as well
		var err error
		if lists[i], err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
	}
	var gone, added []string
	for _, column := range lists[0] { // with its type
		if !slices.Contains(lists[1], column) {
			gone = append(gone, column)
			continue
		}
		name, _, _ := strings.Cut(column, " ")
		p.columns = append(p.columns, name)
	}
	for _, column := range lists[1] {
		if !slices.Contains(lists[0], column) {
			added = append(added, column)
		}
	}
	var shape []string
	if len(gone) > 0 {
		shape = append(shape, "without "+strings.Join(gone, ", "))
	}
	if len(added) > 0 {
		shape = append(shape, "with "+strings.Join(added, ", "))
	}
	oldKey, err := p.keyOf(ctx, tx, p.old)
	if err != nil {
		return err
	}
	newKey, err := p.keyOf(ctx, tx, p.new)
	if err != nil {
		return err
	}
	if slices.Equal(oldKey, newKey) && !slices.ContainsFunc(oldKey, func(k string) bool { return !slices.Contains(p.columns, k) }) {
		p.key = oldKey
	}
	if len(p.key) == 0 {
		shape = append(shape, "another key, so that rows cannot be compared")
	}
	d.Shape = strings.Join(shape, "; ")
	return nil
}

func (p *pairOfTables) keyOf(ctx context.Context, tx pgx.Tx, schema string) ([]string, error) {
	rows, _ := tx.Query(ctx, keySQL, schema, p.table) // an error comes out of the rows as well
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// statement puts the two tables into a query. *<> compares the bytes of two rows: a value
// of json has no equality of its own.
func (p *pairOfTables) statement(sql string) string {
	quote := func(names []string, alias string) string {
		var quoted []string
		for _, name := range names {
			quoted = append(quoted, alias+pgx.Identifier{name}.Sanitize())
		}
		return strings.Join(quoted, ", ")
	}
	columns := quote(p.columns, "")
	var on []string
	for _, name := range p.key {
		on = append(on, quote([]string{name}, "o.")+" = "+quote([]string{name}, "n."))
	}
	both := fmt.Sprintf("(SELECT %s FROM %s) o FULL JOIN (SELECT %s FROM %s) n ON %s", columns, pgx.Identifier{p.old, p.table}.Sanitize(),
		columns, pgx.Identifier{p.new, p.table}.Sanitize(), strings.Join(on, " AND "))
	return strings.NewReplacer("{both}", both, "{old_key}", quote(p.key[:1], "o."), "{new_key}", quote(p.key[:1], "n.")).Replace(sql)
}
