package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

// acceptLoss runs the command with --json to its end.
func acceptLoss(t testing.TB, args ...string) (lossReport, result) {
	t.Helper()
	r := run(t, append([]string{"log", "accept-loss", "--json"}, args...)...)
	var report lossReport
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("log accept-loss ended with %d: %s%s", r.code, r.out, r.err)
	}
	return report, r
}

// holders are those who hold what is not in the log.
func (r lossReport) holders() (all []string) {
	for _, c := range r.Contradictions {
		all = append(all, c.Holder)
	}
	slices.Sort(all)
	return all
}

// A ledger whose log lost commits of which there is no copy goes on once its operator has
// accepted that, and everything about it is what the log makes, as it is now.
func TestAcceptLoss(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	flags := []string{"--data-dir", dir, "--listen", freeAddress(t), "--head-interval", "100ms", "--webhook-allow-private", "--webhook-retries", "1s,1s,1s"}
	at := []string{"--data-dir", dir}
	p := serve(t, flags...)
	tn := newTenant(t, newClient(t, p.address), "acme", at...)
	receiver := newHooks(t)
	tn.webhook(receiver, nil)
	claim, position := tn.mustSubmit()
	tn.expect(200, "POST", "/v1/claims/"+claim+"/approve", nil, tn.asOwner)
	for range 20 {
		_, position = tn.mustSubmit()
	}
	tn.list(position)
	tn.headOf(position)
	receiver.awaitEvents(patience, 22)
	if r := run(t, append([]string{"log", "accept-loss"}, at...)...); r.code != exitFailure || !strings.Contains(r.err, "stop the ledger first") {
		t.Errorf("beside a running ledger it ended with %d: %s%s", r.code, r.out, r.err)
	}
	p.stop()
	whole, r := acceptLoss(t, at...)
	if r.code != 0 || whole.Contradictions == nil || len(whole.Contradictions) > 0 || whole.End.Position != fmt.Sprint(position) || whole.Accepted {
		t.Errorf("of a log that is whole it says, with %d: %s", r.code, r.out)
	}

	cutTail(t, blockOf(t, filepath.Join(dir, "nats")))
	refusesToDecide(t, tn, claim, flags, "it holds")
	mark, err := os.ReadFile(filepath.Join(dir, "log.mark"))
	if err != nil {
		t.Fatal(err)
	}
	look, r := acceptLoss(t, at...)
	var end uint64
	if _, err := fmt.Sscan(look.End.Position, &end); err != nil || end == 0 || end >= position {
		t.Fatalf("the log ends at %q, %v", look.End.Position, err)
	}
	confirm := fmt.Sprint(end)
	check := run(t, append([]string{"log", "check", "--json"}, at...)...)
	var broken logReport
	if err := json.Unmarshal([]byte(check.out), &broken); err != nil || check.code != exitFailure || broken.Commits != end || broken.Position != fmt.Sprint(end+1) {
		t.Errorf("log check ended with %d: %s%s", check.code, check.out, check.err)
	}
	want := []string{
		"the log's store", "the mark in log.mark", eventstore.HeadsHolder, "the read model chain", "the read model claims", "the read model feed",
		"the read model history", "the read model namespaces", "the read model services", "the webhook relay",
	}
	if r.code != exitFailure || !slices.Equal(look.holders(), want) || look.LostAtLeast != position-end || look.Accepted ||
		look.Command != "claimledger log accept-loss --data-dir "+dir+" --confirm "+confirm || len(look.ToDo) != 6 || len(look.Costs) != 5 {
		t.Errorf("unconfirmed it ended with %d: %s%s", r.code, r.out, r.err)
	}
	if text := run(t, append([]string{"log", "accept-loss"}, at...)...); text.code != exitFailure || !strings.Contains(text.out, look.Command) {
		t.Errorf("for people it says, with %d: %s%s", text.code, text.out, text.err)
	}
	wrong, r := acceptLoss(t, append(at, "--confirm", fmt.Sprint(position))...)
	if r.code != exitFailure || wrong.Accepted || len(wrong.Done) > 0 || !strings.Contains(r.err, "ends at position "+confirm) {
		t.Errorf("with another position it ended with %d: %s%s", r.code, r.out, r.err)
	}
	again, _ := acceptLoss(t, at...)
	if now, err := os.ReadFile(filepath.Join(dir, "log.mark")); err != nil || string(now) != string(mark) || !slices.Equal(again.holders(), want) {
		t.Errorf("looking changed something: %s instead of %s, %v, %v", now, mark, again.holders(), err)
	}

	done, r := acceptLoss(t, append(at, "--confirm", confirm)...)
	if r.code != 0 || !done.Accepted || len(done.Done) != 6 {
		t.Fatalf("confirmed it ended with %d: %s%s", r.code, r.out, r.err)
	}
	acceptedIs(t, dir, string(mark), confirm, 10)
	if nothing, r := acceptLoss(t, append(at, "--confirm", confirm)...); r.code != 0 || len(nothing.Contradictions) > 0 || nothing.Accepted {
		t.Errorf("once more it ended with %d: %s%s", r.code, r.out, r.err)
	}
	if check := must(t, append([]string{"log", "check"}, at...)...); !strings.Contains(check, "whole: "+confirm+" commits") {
		t.Errorf("log check says %s", check)
	}

	receiver.forget()
	p = serve(t, flags...)
	tn = tn.at(newClient(t, p.address))
	tn.awaitStatus("ready")
	for range 20 { // past what was lost
		_, position = tn.mustSubmit()
	}
	derivedIs(t, tn, receiver, placeSettings{DataDir: dir}, embeddedDatabase(dir), position)
	a := &auditor{t: t, pinned: headKeyID(t, filepath.Join(dir, "head.key"))}
	head := tn.headOf(position)
	a.exportFrom(at...)
	a.check(head)
	p.stop()
	if nothing, r := acceptLoss(t, at...); r.code != 0 || len(nothing.Contradictions) > 0 {
		t.Errorf("after all that it ended with %d: %s%s", r.code, r.out, r.err)
	}
}

// cutTail makes the store of a ledger that was stopped in order one whose file was cut off.
func cutTail(t testing.TB, block string) {
	t.Helper()
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()*9/10); err != nil {
		t.Fatal(err)
	}
}

// acceptedIs makes sure of what is kept as evidence.
func acceptedIs(t *testing.T, dir, mark, position string, contradictions int) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(dir, "log.mark.lost-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept marks: %v, %v", kept, err)
	}
	if was, err := os.ReadFile(kept[0]); err != nil || string(was) != mark {
		t.Errorf("the mark that was kept is %s, %v", was, err)
	}
	if now, err := eventstore.MarkFile(filepath.Join(dir, "log.mark")).Read(); err != nil || fmt.Sprint(now.Position) != position {
		t.Errorf("the mark is %+v, %v", now, err)
	}
	if heads, err := filepath.Glob(filepath.Join(dir, "nats", "heads.lost-*", "msgs", "*.blk")); err != nil || len(heads) != 1 {
		t.Errorf("kept heads: %v, %v", heads, err)
	}
	if store, err := filepath.Glob(filepath.Join(dir, "nats", "log.lost-*", "msgs", "*.blk")); err != nil || len(store) == 0 {
		t.Errorf("kept store: %v, %v", store, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "log.accepted"))
	var line struct {
		Time string
		lossFound
	}
	if err := errors.Join(err, json.Unmarshal(raw, &line)); err != nil || line.Time == "" || line.End.Position != position || len(line.Contradictions) != contradictions {
		t.Errorf("log.accepted says %s, %v", raw, err)
	}
}

// derivedIs makes sure that read models, the feed and the webhooks of a running ledger are
// what its log makes.
func derivedIs(t *testing.T, tn *tenant, receiver *hooks, place placeSettings, database string, position uint64) {
	t.Helper()
	l := newLoad(tn)
	l.position = position
	c := &checker{t: t, place: place, database: database, traffic: &traffic{t: t, loads: []*load{l}, receivers: []*hooks{receiver}}}
	stream, closeLog, err := place.openLog(t.Context(), false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog()
	log := newLedgerLog()
	readStream(t, stream, func(r eventstore.Record) {
		if err := log.add(r); err != nil {
			t.Errorf("the commit at %d: %v", r.Position, err)
		}
	})
	c.models(stream)
	c.feed(l)
	c.webhooks(log, l)
}
