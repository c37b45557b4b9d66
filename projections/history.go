package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var historyColumns = []string{
	"position", "index", "event_id", "type", "schema_version", "namespace", "boundary", "claim_id", "service",
	"actor_kind", "actor_id", "actor_agent", "time", "commit_id", "commit_version", "prev", "hash", "data",
}

// secretFields are the fields of the registry's events that hold hashes of tokens, keys
// and challenges, and sealed secrets. The history is read by people who need none of them.
var secretFields = []string{"token_hash", "key_hash", "challenge_hash", "secret", "auth_value", "former_secrets"}

func applyHistory(ctx context.Context, t *target, records []eventstore.Record) error {
	events := 0
	for _, rec := range records {
		events += len(rec.Commit.Events)
	}
	rows, next := rowsOf(historyColumns), 0
	more := func() (bool, error) {
		if next == len(records) {
			return false, nil
		}
		next++
		return true, addHistory(rows, records[next-1])
	}
	if events >= copyFrom {
		return t.insertAsMade(ctx, "events", rows, more)
	}
	for range records {
		if _, err := more(); err != nil {
			return err
		}
	}
	return t.insert(ctx, "events", rows)
}

// addHistory adds the events of a commit.
func addHistory(rows *rows, rec eventstore.Record) error {
	events, err := EventsOf(rec)
	if err != nil {
		return err
	}
	for i, e := range events {
		rows.begin()
		rows.bigint(e.Position)
		rows.integer(e.Index)
		rows.text(e.EventID)
		rows.text(string(e.Type))
		rows.integer(e.SchemaVersion)
		rows.text(e.Namespace)
		rows.text(string(e.Kind))
		if e.ClaimID != "" {
			rows.text(e.ClaimID)
		} else {
			rows.null()
		}
		if p, ok := rec.Commit.Events[i].Payload.(domain.ClaimSubmitted); ok {
			rows.text(p.Service)
		} else {
			rows.null()
		}
		rows.text(string(e.Actor.Kind))
		rows.text(e.Actor.ID)
		rows.text(e.Actor.Agent)
		rows.time(e.Time)
		rows.text(e.CommitID)
		rows.bigint(e.CommitVersion)
		rows.bytes(e.Prev[:])
		rows.bytes(e.Hash[:])
		rows.text(string(e.Data))
	}
	return nil
}

// EventsOf are the events of a commit as the history has them, straight from the log.
func EventsOf(rec eventstore.Record) ([]HistoryEvent, error) {
	c := rec.Commit
	recorded, err := domain.RecordedEvents(rec.Stored)
	if err != nil {
		return nil, err
	}
	if len(recorded) != len(c.Events) {
		return nil, fmt.Errorf("%d events were recorded and %d read", len(recorded), len(c.Events))
	}
	events := make([]HistoryEvent, len(c.Events))
	for i, e := range recorded {
		data := e.Data
		if c.Kind != domain.KindClaims {
			var err error
			if data, err = withoutSecrets(data); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Events[i].ID, err)
			}
		}
		events[i] = HistoryEvent{
			Position: rec.Position, Index: i, EventID: c.Events[i].ID, Type: e.Type, SchemaVersion: e.Version,
			Namespace: c.Namespace, Kind: c.Kind, ClaimID: domain.ClaimOf(c.Events[i].Payload), Actor: c.Actor, Time: c.Time,
			CommitID: c.ID, CommitVersion: c.Version, Prev: c.Prev, Hash: rec.Hash, Data: data,
		}
	}
	return events, nil
}

func withoutSecrets(data json.RawMessage) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	found := false
	for _, name := range secretFields {
		if _, ok := fields[name]; ok {
			delete(fields, name)
			found = true
		}
	}
	if !found {
		return data, nil
	}
	return json.Marshal(fields)
}
