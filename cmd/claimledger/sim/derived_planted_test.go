package sim

import (
	"context"
	"net/http"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// derivedPlant is a defect of what is made from the log. The zero one is none.
type derivedPlant struct {
	after  func(d *derived)                                                // after every step
	killed func(d *derived)                                                // when a process was killed
	carry  func(d *derived, r *http.Request, body []byte) (swallowed bool) // instead of the receivers
	log    func(log eventstore.Log) eventstore.Log                         // instead of the log
}

func (d *derived) plantSQL(sql string, args ...any) {
	if _, err := d.pool.Exec(context.Background(), sql, args...); err != nil {
		d.fail("planting: %v", err)
	}
}

// moveModel moves a read model's checkpoint while nobody holds it, as a crash does between
// two transactions that should be one.
func (d *derived) moveModel(model string, by int) {
	for _, p := range d.processes {
		p.projectors[model].Close()
	}
	var at int64
	if err := d.pool.QueryRow(context.Background(), "SELECT position FROM projections.generations WHERE model = $1", model).Scan(&at); err != nil {
		d.fail("planting: %v", err)
	}
	if to := at + int64(by); to > 0 && to <= int64(d.ledger.last()) {
		d.plantSQL("UPDATE projections.generations SET position = $2, hash = $3 WHERE model = $1", model, to, d.hashAt(to))
	}
}

func (d *derived) moveRelay(by int) {
	var at int64
	if err := d.pool.QueryRow(context.Background(), "SELECT position FROM webhookrelay.checkpoint").Scan(&at); err != nil {
		d.fail("planting: %v", err)
	}
	if to := at + int64(by); to > 0 && to <= int64(d.ledger.last()) {
		d.plantSQL("UPDATE webhookrelay.checkpoint SET position = $1, hash = $2", to, d.hashAt(to))
	}
}

func (d *derived) hashAt(position int64) []byte {
	r, err := d.ledger.memory.At(context.Background(), uint64(position))
	if err != nil {
		d.fail("planting: %v", err)
	}
	return r.Hash[:]
}

// sometimes has a defect show in some of the steps.
func sometimes(f func(d *derived)) func(d *derived) {
	return func(d *derived) {
		if d.rng.IntN(10) == 0 {
			f(d)
		}
	}
}

var derivedPlanted = map[string]derivedPlant{
	"a projector's checkpoint is written before the rows":  {after: sometimes(func(d *derived) { d.moveModel("claims", 1) })},
	"a projector's rows are written before the checkpoint": {after: sometimes(func(d *derived) { d.moveModel("claims", -1) })},
	"a relay's checkpoint is written before the rows":      {after: sometimes(func(d *derived) { d.moveRelay(1) })},
	"a relay's rows are written before the checkpoint":     {after: sometimes(func(d *derived) { d.moveRelay(-3) })},
	"a sequence number is counted twice": {after: sometimes(func(d *derived) {
		d.plantSQL("UPDATE webhookrelay.webhooks SET next_sequence = next_sequence + 1")
	})},
	"what a relay had counts as delivered after its crash": {killed: func(d *derived) {
		d.plantSQL(`WITH taken AS (
			UPDATE webhookrelay.deliveries d SET state = 'delivered', queued = false, ended_at = now() FROM webhookrelay.endpoints e
			WHERE e.webhook_id = d.webhook_id AND e.owner <> '' AND d.state = 'pending' RETURNING d.webhook_id, d.sequence, d.ping)
			DELETE FROM webhookrelay.queue q USING taken WHERE (q.webhook_id, q.sequence, q.ping) = (taken.webhook_id, taken.sequence, taken.ping)`)
	}},
	"an answer is taken for one that never came": {carry: func(_ *derived, _ *http.Request, body []byte) bool { return len(body)%5 == 0 }},
	"the order within a claim is forgotten": {after: func(d *derived) {
		d.plantSQL(`UPDATE webhookrelay.events SET claim_id = claim_id || '#' || event_id WHERE claim_id NOT LIKE '%#%'`)
		d.plantSQL(`UPDATE webhookrelay.queue SET claim_id = claim_id || '#' || event_id WHERE claim_id NOT LIKE '%#%'`)
	}},
	"a commit is skipped": {log: func(log eventstore.Log) eventstore.Log { return skipping{log} }},
}

// skipping is a log that leaves one commit in seven out.
type skipping struct{ eventstore.Log }

func (l skipping) ReadAll(ctx context.Context, kind domain.Kind, after uint64, f func(eventstore.Record) error) error {
	return l.Log.ReadAll(ctx, kind, after, func(r eventstore.Record) error {
		if r.Position%7 == 0 {
			return nil
		}
		return f(r)
	})
}

// mostDerivedSeeds is within how many seeds a planted defect is found.
const mostDerivedSeeds = 6

func TestPlantedDefectsOfWhatIsDerivedAreFound(t *testing.T) {
	findAll(t, derivedPlanted, mostDerivedSeeds, func(seed uint64, p derivedPlant) outcome { return derive(t, seed, upTo(*derivedSteps), p) })
}
