package projections

import (
	"testing"
)

// TestModelsEqualTheFold applies random histories, cut into random batches, and
// compares all that readers see with the fold in memory at every cut.
func TestModelsEqualTheFold(t *testing.T) {
	for seed := range uint64(3) {
		w := newWorld(t, seed)
		w.steps(400)
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			reader := newReader(t, pool)
			log := &cut{Log: w.log}
			for log.end < w.last() {
				log.end = min(w.last(), log.end+1+w.rand.Uint64N(300))
				catchUp(t, log, pool)
				foldLog(t, w.log, log.end).checkAgainst(t, reader, log.end)
			}
		})
	}
}

// TestBatchesDoNotMatter builds the same history commit by commit and all at once: two
// generations at one position are equal row by row.
func TestBatchesDoNotMatter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 99)
	w.steps(250)
	whole, single := newPool(t), newPool(t)
	catchUp(t, w.log, whole)
	for _, m := range Models() {
		log := &cut{Log: w.log}
		p := newProjector(t, log, single, m.Name)
		for log.end < w.last() {
			log.end++
			if n, err := p.Step(t.Context()); n != 1 || err != nil {
				t.Fatalf("%d commits: %v", n, err)
			}
		}
	}
	if a, b := dump(t, whole), dump(t, single); a != b {
		t.Fatal(firstDifference(a, b))
	}
}
