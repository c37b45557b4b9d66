package export_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/domain/audit/audittest"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/export"
)

// ledger is a log with its signed heads.
type ledger struct {
	t     testing.TB
	made  *audittest.Log
	log   *eventstore.Memory
	heads *eventstore.MemoryHeads
	key   *domain.HeadKey
}

// example is the example, with a head at each of the positions.
func example(t testing.TB, heads ...uint64) *ledger {
	t.Helper()
	return ledgerOf(t, audittest.Example(t), heads...)
}

func ledgerOf(t testing.TB, made *audittest.Log, heads ...uint64) *ledger {
	t.Helper()
	l := &ledger{t: t, made: made, log: eventstore.NewMemory(), heads: &eventstore.MemoryHeads{}, key: audittest.Key(t, 1)}
	tails := map[domain.Boundary]eventstore.Head{}
	for _, stored := range made.Stored {
		c, err := domain.DecodeCommit(stored)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.log.Append(t.Context(), tails[c.Boundary()], c)
		if err != nil || !bytes.Equal(r.Stored, stored) {
			t.Fatalf("%s was appended as %s, %v", stored, r.Stored, err)
		}
		tails[c.Boundary()] = r.Head()
	}
	for _, position := range heads {
		l.sign(position)
	}
	return l
}

func (l *ledger) sign(position uint64) {
	l.t.Helper()
	last, err := l.heads.Last(l.t.Context())
	if err == nil {
		_, err = l.heads.Append(l.t.Context(), last, l.made.Head(l.key, position))
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *ledger) export(sel export.Selection) []byte {
	l.t.Helper()
	var out bytes.Buffer
	if _, _, err := export.From(l.t.Context(), l.log, l.heads, sel, &out, nil); err != nil {
		l.t.Fatalf("%+v: %v", sel, err)
	}
	return out.Bytes()
}

func (l *ledger) trust() audit.Trust { return audit.Trust{Keys: []string{l.key.ID()}} }

func verify(file []byte, trust audit.Trust) (audit.Report, error) {
	return export.Verify(bytes.NewReader(file), trust)
}

// Whatever is selected verifies, and shows as much as there are heads for.
func TestExportsVerify(t *testing.T) {
	t.Parallel()
	end := audittest.Example(t).Last()
	for _, heads := range [][]uint64{nil, {3}, {3, 9, 12}, {end}, {5, end - 1, end}} {
		l := example(t, heads...)
		for _, namespace := range []string{"", "acme", "shop"} {
			for from := uint64(0); from <= end; from++ {
				for _, to := range []uint64{0, from, from + 3, end - 1, end} {
					if to != 0 && (to < max(1, from) || to > end) {
						continue
					}
					sel := export.Selection{Namespace: namespace, From: from, To: to}
					r, err := verify(l.export(sel), audit.Trust{})
					if err != nil {
						t.Fatalf("%+v with heads of %d: %v", sel, heads, err)
					}
					last := sel.To
					if last == 0 {
						last = end
					}
					sure, next := uint64(0), uint64(0)
					for _, h := range heads {
						if h <= last && h >= from {
							sure = h
						}
						if next == 0 && h >= last {
							next = h
						}
					}
					sure = max(sure, next)
					if r.Scope != (audit.Scope{Namespace: namespace, From: max(1, from), To: last}) || r.End != l.made.Chain(max(last, next)) {
						t.Fatalf("%+v with heads of %d: %+v", sel, heads, r)
					}
					if sure == 0 {
						continue
					}
					if r, err = verify(l.export(sel), l.trust()); err != nil || r.Sure() != sure {
						t.Fatalf("%+v with heads of %d: sure up to %d, not %d, %v", sel, heads, r.Sure(), sure, err)
					}
				}
			}
		}
	}
}

// An export gives back the bytes that were stored, and tells how far it is.
func TestExportIsWhatWasStored(t *testing.T) {
	t.Parallel()
	l := example(t, 9)
	var out bytes.Buffer
	var told []uint64
	h, trailer, err := export.From(t.Context(), l.log, l.heads, export.Selection{From: 4}, &out, func(position, of uint64) { told = append(told, position, of) })
	if err != nil || h.From != 4 || trailer.End != l.made.Last() || trailer.Commits != l.made.Last()-3 {
		t.Fatalf("%+v, %+v, %v", h, trailer, err)
	}
	if n := len(told); n != 2*int(l.made.Last()) || told[n-2] != l.made.Last() || told[0] != 1 || told[1] != l.made.Last() {
		t.Errorf("it told %d", told)
	}
	r, err := export.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	for position := uint64(4); position <= l.made.Last(); position++ {
		if e, err := r.Next(); err != nil || e.Position != position || !bytes.Equal(e.Stored, l.made.Stored[position-1]) {
			t.Errorf("%d: %s, %v", position, e.Stored, err)
		}
	}
}

// Bytes that no JSON text can hold are given back all the same.
func TestExportOfOddBytes(t *testing.T) {
	t.Parallel()
	made := audittest.New(t)
	made.Begin("acme")
	odd := bytes.Replace(made.Stored[1], []byte("Wetter"), []byte("\xff\xfe"), 1)
	log := eventstore.NewMemory()
	for i, stored := range [][]byte{made.Stored[0], odd} {
		if at := log.Inject(domain.RegistryOf("acme"), stored); at != uint64(i+1) {
			t.Fatal(at)
		}
	}
	var out bytes.Buffer
	if _, _, err := export.From(t.Context(), log, &eventstore.MemoryHeads{}, export.Selection{}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"stored_base64":`) {
		t.Errorf("%s", out.String())
	}
	if r, err := verify(out.Bytes(), audit.Trust{}); err != nil || r.Tally.Commits != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestExportOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	l := ledgerOf(t, audittest.New(t))
	file := l.export(export.Selection{})
	if r, err := verify(file, audit.Trust{}); err != nil || r.End != (domain.Chain{}) || len(r.Proven()) > 0 {
		t.Errorf("%s: %+v, %v", file, r, err)
	}
}

// Who asks for the signed part gets what is signed, all of it.
func TestExportOfTheSignedPart(t *testing.T) {
	t.Parallel()
	l := example(t, 3, 9)
	r, err := verify(l.export(export.Selection{Signed: true}), l.trust())
	if err != nil || r.Sure() != 9 || r.End.Position != 9 {
		t.Errorf("%+v, %v", r, err)
	}
}

// What was signed for is in the export also where it was signed while that was written.
func TestHeadThatComesMeanwhile(t *testing.T) {
	t.Parallel()
	l := example(t, 3)
	var out bytes.Buffer
	signed := false
	_, trailer, err := export.From(t.Context(), l.log, l.heads, export.Selection{To: 9}, &out, func(uint64, uint64) {
		if !signed {
			signed = true
			l.sign(11)
		}
	})
	if err != nil || trailer.Head == nil || trailer.End != 11 || trailer.Others != 2 {
		t.Fatalf("%+v, %v", trailer, err)
	}
	if r, err := verify(out.Bytes(), l.trust()); err != nil || r.Sure() != 11 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	l := example(t)
	for sel, want := range map[export.Selection]string{
		{Namespace: "nobody"}: "there is no namespace nobody",
		{From: 99}:            "ends at position",
		{To: 99}:              "ends at position",
		{From: 9, To: 8}:      "nothing from position 9 to 8",
		{Signed: true}:        "no head of the log has been signed",
	} {
		var out bytes.Buffer
		if _, _, err := export.From(t.Context(), l.log, l.heads, sel, &out, nil); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("%+v: %v, with %d bytes", sel, err, out.Len())
		}
	}
	full := errors.New("disk full")
	for after := range 12 {
		_, _, err := export.From(t.Context(), l.log, l.heads, export.Selection{}, &fails{after, full}, nil)
		if !errors.Is(err, full) {
			t.Errorf("a disk that is full after %d lines: %v", after, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := export.From(ctx, l.log, l.heads, export.Selection{}, &bytes.Buffer{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
}

type fails struct {
	after int
	err   error
}

func (f *fails) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return len(b), nil
}

// A log that is not the one that was signed for is exported as evidence, and said to be so.
func TestExportOfALogThatLies(t *testing.T) {
	t.Parallel()
	l := example(t)
	chain := l.made.Chain(5)
	chain.Hash[0]++
	if _, err := l.heads.Append(t.Context(), eventstore.StoredHead{}, l.key.Sign(chain, l.made.Now)); err != nil {
		t.Fatal(err)
	}
	for _, sel := range []export.Selection{{}, {From: 6}, {To: 3}} {
		var out bytes.Buffer
		_, trailer, err := export.From(t.Context(), l.log, l.heads, sel, &out, nil)
		var lies *export.ContradictionError
		if !errors.As(err, &lies) || trailer.End == 0 {
			t.Errorf("%+v: %+v, %v", sel, trailer, err)
		}
		var found *audit.Finding
		if _, err := verify(out.Bytes(), audit.Trust{}); !errors.As(err, &found) || !strings.Contains(err.Error(), "was altered") {
			t.Errorf("%+v: verified with %v", sel, err)
		}
	}
}

// What is no export, or not for this program, is told from what was altered.
func TestUnusable(t *testing.T) {
	t.Parallel()
	l := example(t)
	file := string(l.export(export.Selection{}))
	var newer bytes.Buffer
	w, err := export.NewWriter(&newer, export.Header{From: 1, To: 1})
	if err != nil {
		t.Fatal(err)
	}
	stored := bytes.Replace(l.made.Stored[0], []byte("namespace.registered"), []byte("namespace.improved"), 1)
	commit, err := domain.DecodeCommit(l.made.Stored[0])
	if err == nil {
		err = w.Add(eventstore.Record{Position: 1, Stored: stored, Hash: domain.HashOf(stored), Commit: commit})
	}
	if err == nil {
		_, err = w.End(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"nothing": "", "text": "hello\n", "JSON": "{}\n", "no line": file[:50],
		"a newer format": strings.Replace(file, `"version":1`, `"version":2`, 1), "a newer event": newer.String(),
	} {
		var unusable *export.UnusableError
		if _, err := verify([]byte(file), audit.Trust{}); !errors.As(err, &unusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("broken disk")
	for _, at := range []int{0, 100, 3000} {
		var unusable *export.UnusableError
		_, err := export.Verify(&breaks{strings.NewReader(file[:at]), broken}, audit.Trust{})
		if !errors.As(err, &unusable) || !errors.Is(err, broken) {
			t.Errorf("a disk that breaks after %d bytes: %v", at, err)
		}
	}
	long := strings.Replace(file, "\n", "\n"+strings.Repeat("x", 8<<20), 1)
	if _, err := verify([]byte(long), audit.Trust{}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a line without end: %v", err)
	}
}

type breaks struct {
	in  *strings.Reader
	err error
}

func (b *breaks) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if err != nil {
		err = b.err
	}
	return n, err
}
