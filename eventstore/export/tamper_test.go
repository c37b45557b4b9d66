package export_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/domain/audit/audittest"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/export"
)

// small is a ledger whose exports are small enough to be tampered with everywhere.
func small(t testing.TB) *ledger {
	made := audittest.New(t)
	made.Begin("acme")
	made.Submit("acme", "acme", "claim_1", "ed25519:one")
	made.Registry("shop", audittest.Operator, domain.RegisterNamespace{OwnerID: "owner_shop"})
	made.Claims("acme", audittest.Owner("acme"), domain.Approve{ClaimID: "claim_1"})
	return ledgerOf(t, made, made.Last())
}

// smallFiles are exports of it with everything in them that an export can have.
func smallFiles(t testing.TB) map[string][]byte {
	t.Helper()
	l := small(t)
	early, late := ledgerOf(t, l.made, 2, l.made.Last()), ledgerOf(t, l.made)
	var meanwhile bytes.Buffer
	_, _, err := export.From(t.Context(), late.log, late.heads, export.Selection{}, &meanwhile, func(position, of uint64) {
		if position == of {
			late.sign(of)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"all of it":   meanwhile.Bytes(), // with its head in the last line
		"a namespace": l.export(export.Selection{Namespace: "acme"}),
		"a range":     early.export(export.Selection{From: 2, To: 4}),
	}
}

// found makes sure that a file is refused, by whoever does not even know the ledger's key.
func found(t testing.TB, file []byte, how string, args ...any) {
	t.Helper()
	_, err := verify(file, audit.Trust{})
	var finding *audit.Finding
	var unusable *export.UnusableError
	switch {
	case err == nil || !errors.As(err, &finding) && !errors.As(err, &unusable):
		t.Fatalf("%s: %v", fmt.Sprintf(how, args...), err)
	case finding != nil && finding.What == "":
		t.Fatalf("%s: nothing is said of it", fmt.Sprintf(how, args...))
	}
}

// spliced is a file with some of its bytes replaced by others.
func spliced(file []byte, from, to int, by ...byte) []byte {
	return slices.Concat(file[:from], by, file[to:])
}

// No byte of an export can be another, be missing, or have another beside it.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	l := small(t)
	odd := []byte{' ', '\n', '0', '"', '\\', '}', 'e', 0, 0xff}
	tried := 0
	for name, file := range smallFiles(t) {
		if _, err := verify(file, l.trust()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// The others share its lines: there it is enough to try one thing of each kind.
		everything := name == "all of it"
		for at, is := range file {
			become := []byte{is ^ 1<<(at%8), odd[at%len(odd)]}
			if !everything {
				become = become[at%2 : at%2+1]
			}
			for _, becomes := range become {
				if becomes != is {
					tried++
					found(t, spliced(file, at, at+1, becomes), "%s: byte %d, %q, becomes %q", name, at, is, becomes)
				}
			}
			added := []byte{is, odd[at%len(odd)]}[at%2]
			for kind, do := range []func(){
				func() { found(t, spliced(file, at, at+1), "%s: byte %d, %q, is missing", name, at, is) },
				func() { found(t, spliced(file, at, at, added), "%s: %q stands before byte %d", name, added, at) },
				func() { found(t, file[:at], "%s: cut off before byte %d", name, at) },
			} {
				if everything || kind == at%3 {
					tried++
					do()
				}
			}
		}
		for _, added := range []string{" ", "\n", "x", "{}", string(file)} {
			found(t, append(slices.Clone(file), added...), "%s: %q stands behind it", name, added)
		}
	}
	t.Logf("%d files that were tampered with", tried)
}

func linesOf(file []byte) []string {
	all := strings.SplitAfter(string(file), "\n")
	return all[:len(all)-1]
}

func joined(lines []string) []byte { return []byte(strings.Join(lines, "")) }

// No line can be dropped, doubled, moved, or come from another export.
func TestEveryLineCounts(t *testing.T) {
	t.Parallel()
	var foreign []string
	for _, file := range smallFiles(t) {
		foreign = append(foreign, linesOf(file)...)
	}
	other := example(t, 5)
	foreign = append(foreign, linesOf(other.export(export.Selection{}))...)
	foreign = append(foreign, "\n", "{}\n", " \n")
	for name, file := range smallFiles(t) {
		lines := linesOf(file)
		for i := range lines {
			found(t, joined(slices.Delete(slices.Clone(lines), i, i+1)), "%s: line %d is dropped", name, i+1)
			for j := range i {
				swapped := slices.Clone(lines)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				found(t, joined(swapped), "%s: lines %d and %d are swapped", name, i+1, j+1)
				found(t, joined(slices.Delete(slices.Clone(lines), j, i)), "%s: lines %d to %d are dropped", name, j+1, i)
			}
			for _, line := range foreign {
				found(t, joined(slices.Insert(slices.Clone(lines), i, line)), "%s: %.40q stands before line %d", name, line, i+1)
				if line != lines[i] {
					replaced := slices.Clone(lines)
					replaced[i] = line
					found(t, joined(replaced), "%s: %.40q is in the place of line %d", name, line, i+1)
				}
			}
		}
	}
}

// Who writes the last line anew, to fit what he did to the others, cannot write the same
// thing in another way.
func TestOneWayToWriteIt(t *testing.T) {
	t.Parallel()
	for name, file := range smallFiles(t) {
		lines := linesOf(file)
		for i := range lines[:len(lines)-1] {
			for _, change := range [][2]string{{`":"`, `": "`}, {`,"`, `, "`}, {`}`, ` }`}, {`{"`, `{ "`}, {`"hash"`, `"Hash"`}, {"e", "\\u0065"}, {`{`, `{"x":1,`}, {"\n", "\r\n"}} {
				changed := slices.Clone(lines)
				changed[i] = strings.Replace(lines[i], change[0], change[1], 1)
				if changed[i] != lines[i] {
					found(t, sealed(t, changed), "%s: in line %d %s is written as %s", name, i+1, change[0], change[1])
				}
			}
			if opening, ok := strings.CutPrefix(lines[i], `{"position":"`); ok {
				changed := slices.Clone(lines)
				changed[i] = `{"position":"1","position":"` + opening
				found(t, sealed(t, changed), "%s: line %d has two positions", name, i+1)
			}
		}
	}
}

// sealed has the last line fit those before it.
func sealed(t testing.TB, lines []string) []byte {
	t.Helper()
	sum := domain.HashOf(joined(lines[:len(lines)-1])).String()
	last := lines[len(lines)-1]
	at := strings.Index(last, `"lines":"`) + len(`"lines":"`)
	if sum == last[at:at+len(sum)] {
		t.Fatal("nothing was changed")
	}
	lines = slices.Clone(lines)
	lines[len(lines)-1] = last[:at] + sum + last[at+len(sum):]
	return joined(lines)
}

// forge writes an export of any log as if it were the ledger's, with a head that he has.
func forge(t testing.TB, made *audittest.Log, scope audit.Scope, inFirst, inLast *domain.LogHead) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := export.NewWriter(&out, export.Header{Namespace: scope.Namespace, From: 1, To: scope.To, Head: inFirst})
	for i, stored := range made.Stored[:scope.To] {
		var c *domain.Commit
		if err == nil {
			c, err = domain.DecodeCommit(stored)
		}
		if err == nil {
			err = w.Add(eventstore.Record{Position: uint64(i + 1), Stored: stored, Hash: domain.HashOf(stored), Commit: c})
		}
	}
	if err == nil {
		_, err = w.End(inLast)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// rewritten is a log that says something else from a position on, and is as consistent.
func rewritten(t testing.TB, made *audittest.Log, from uint64) *audittest.Log {
	t.Helper()
	other := audittest.New(t)
	for i, stored := range made.Stored {
		c, err := domain.DecodeCommit(stored)
		if err != nil {
			t.Fatal(err)
		}
		other.PutCommit(c, func(c *domain.Commit) {
			if uint64(i+1) == from {
				c.Command.Name = "another"
			}
		})
	}
	return other
}

// Who has everything but the ledger's key can make a log of his own. Whoever knows the
// key, or kept a head, finds it out as far as what he knows goes; and is told how far that
// is.
func TestForgers(t *testing.T) {
	t.Parallel()
	l := example(t)
	end, theirs := l.made.Last(), audittest.Key(t, 9)
	old, newest := l.made.Head(l.key, 5), l.made.Head(l.key, end)
	kept := audit.Trust{Heads: []domain.LogHead{newest}}
	both := audit.Trust{Keys: []string{l.key.ID()}, Heads: kept.Heads}
	head := func(made *audittest.Log, key *domain.HeadKey, position uint64) *domain.LogHead {
		h := made.Head(key, position)
		return &h
	}
	refused := func(file []byte, trust audit.Trust, how string, args ...any) {
		t.Helper()
		// What is cut off well cannot be told from what is older: it does not pass.
		_, err := verify(file, trust)
		if !errors.As(err, new(*audit.Finding)) && !errors.As(err, new(*audit.Incomplete)) {
			t.Fatalf("%s: %v", fmt.Sprintf(how, args...), err)
		}
	}
	passes := func(file []byte, trust audit.Trust, sure uint64, warning, how string, args ...any) {
		t.Helper()
		r, err := verify(file, trust)
		if err != nil || r.Sure() != sure || !strings.Contains(strings.Join(r.NotProven(), "\n"), warning) {
			t.Fatalf("%s: %v, sure up to %d, without a warning in %q", fmt.Sprintf(how, args...), err, r.Sure(), r.NotProven())
		}
	}
	for at := uint64(1); at <= end; at++ {
		other, cut := rewritten(t, l.made, at), audit.Scope{From: 1, To: at}
		all := audit.Scope{From: 1, To: end}
		// As it stands, an export can be anybody's; the auditor is told.
		passes(forge(t, other, all, nil, nil), audit.Trust{}, 0, "could have made another", "rewritten from %d", at)
		passes(forge(t, other, all, head(other, theirs, end), nil), audit.Trust{}, 0, "could have made another", "rewritten from %d and signed by the forger", at)
		for name, trust := range map[string]audit.Trust{"the key": l.trust(), "a head": kept, "both": both} {
			refused(forge(t, other, all, nil, nil), trust, "%s: rewritten from %d, without a head", name, at)
			refused(forge(t, other, all, &newest, nil), trust, "%s: rewritten from %d, with the head", name, at)
			refused(forge(t, other, all, nil, &newest), trust, "%s: rewritten from %d, with the head at the end", name, at)
			refused(forge(t, other, all, head(other, theirs, end), nil), trust, "%s: rewritten from %d, and signed by the forger", name, at)
			masked := head(other, theirs, end)
			masked.KeyID, masked.PublicKey = newest.KeyID, newest.PublicKey
			refused(forge(t, other, all, masked, nil), trust, "%s: rewritten from %d, and signed in another's name", name, at)
		}
		if at < end {
			for name, trust := range map[string]audit.Trust{"the key": l.trust(), "a head": kept, "both": both} {
				refused(forge(t, l.made, cut, nil, nil), trust, "%s: cut off after %d", name, at)
				refused(forge(t, l.made, cut, &newest, nil), trust, "%s: cut off after %d, with the head", name, at)
				refused(forge(t, l.made, cut, nil, &newest), trust, "%s: cut off after %d, with the head at the end", name, at)
				refused(forge(t, l.made, cut, nil, head(l.made, theirs, at)), trust, "%s: cut off after %d, and signed by the forger", name, at)
			}
		}
		// An old head of the ledger's own is a good one: only a newer one tells that it is not
		// all, and the log before it cannot be another.
		if at > old.Position {
			passes(forge(t, other, all, &old, nil), l.trust(), old.Position, fmt.Sprintf("What comes after position %d", old.Position), "rewritten from %d, with an old head", at)
		} else {
			refused(forge(t, other, all, &old, nil), l.trust(), "rewritten from %d, with an old head", at)
		}
		refused(forge(t, other, all, &old, nil), kept, "rewritten from %d, with an old head", at)
	}
	// A head of where a range begins is a good one, and says nothing of the range.
	forged := ledgerOf(t, rewritten(t, l.made, 9))
	forged.sign(6)
	before := l.made.Head(l.key, 6)
	refused(forged.export(export.Selection{From: 7}), audit.Trust{Keys: both.Keys, Heads: []domain.LogHead{before}}, "a range rewritten, with the head before it")
	refused(forged.export(export.Selection{From: 7}), audit.Trust{Heads: []domain.LogHead{before}}, "a range rewritten, with the kept head before it")
	cut := forge(t, l.made, audit.Scope{From: 1, To: old.Position}, &old, nil)
	passes(cut, l.trust(), old.Position, "nothing came after position 5", "cut off at an old head")
	refused(cut, kept, "cut off at an old head")
	refused(cut, both, "cut off at an old head")
}

// What is left out of a namespace's export, and passed off as another's, shows: but for
// what stood at its end and nothing rests on, of which the auditor is warned.
func TestHiddenAmongOthers(t *testing.T) {
	t.Parallel()
	l := example(t, example(t).made.Last())
	lines := linesOf(l.export(export.Selection{Namespace: "acme"}))
	commits, others := 0, 0
	for _, line := range lines {
		if strings.HasPrefix(line, `{"position":`) {
			commits++
		} else if strings.HasPrefix(line, `{"other":`) {
			others++
		}
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, `{"position":`) {
			continue
		}
		hidden := slices.Clone(lines)
		hidden[i] = fmt.Sprintf("{\"other\":\"%d\",\"commit\":\"%s\"}\n", i, domain.HashOf(l.made.Stored[i-1]))
		last := &hidden[len(hidden)-1]
		*last = strings.Replace(*last, fmt.Sprintf(`"commits":"%d","others":"%d"`, commits, others), fmt.Sprintf(`"commits":"%d","others":"%d"`, commits-1, others+1), 1)
		r, err := verify(sealed(t, hidden), l.trust())
		if atEnd := uint64(i) == l.made.Last(); atEnd != (err == nil) {
			t.Errorf("position %d was hidden: %v", i, err)
		} else if atEnd && !strings.Contains(strings.Join(r.NotProven(), "\n"), "a revocation may be missing") {
			t.Errorf("nothing is said of it: %q", r.NotProven())
		}
	}
}

// What is found is named: the place, the boundary, the commit, and what is wrong.
func TestFindingsNameTheCommit(t *testing.T) {
	t.Parallel()
	l := small(t)
	file := l.export(export.Selection{})
	c, err := domain.DecodeCommit(l.made.Stored[3])
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Replace(file, []byte("203.0.113.7"), []byte("203.0.113.8"), 1)
	lines := linesOf(file)
	for how, test := range map[string]struct {
		file []byte
		want []string
	}{
		"altered": {altered, []string{"position 4, commit " + c.ID + " of acme/claims: ", "it was altered"}},
		"no JSON": {bytes.Replace(file, []byte(`"stored":"{\"id\":\"01KJ0000000000000000000004`), []byte(`"stored":"[\"id\":\"01KJ0000000000000000000004`), 1), []string{"position 4, in acme/claims: ", "it was altered"}},
		"dropped": {joined(slices.Delete(slices.Clone(lines), 3, 4)), []string{"position 4, commit " + c.ID + " of acme/claims: ", "it follows position 2"}},
		"cut off": {joined(lines[:5]), []string{"the file ends in the middle"}},
		"twice":   {joined(slices.Insert(slices.Clone(lines), 4, lines[4])), []string{"position 4, commit " + c.ID + " of acme/claims: ", "it follows position 4"}},
	} {
		_, err := verify(test.file, audit.Trust{})
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, without %q", how, err, want)
			}
		}
	}
}
