package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// link is a commit as an export has it.
type link struct {
	position uint64
	stored   string
}

func chainOf(log []link) (c Chain) {
	for _, l := range log {
		c = c.Then(l.position, HashOf([]byte(l.stored)))
	}
	return c
}

// The formula as an auditor would write it down from the documentation.
func TestChainIsWhatIsDocumented(t *testing.T) {
	hash := make([]byte, 32)
	for position, stored := range []string{"one", "two"} {
		commit := sha256.Sum256([]byte(stored))
		whole := sha256.New()
		whole.Write([]byte("claimledger-log-v1\n"))
		whole.Write(hash)
		binary.Write(whole, binary.BigEndian, uint64(position+1))
		whole.Write(commit[:])
		hash = whole.Sum(nil)
	}
	want := Chain{Position: 2, Count: 2, Hash: Hash(hash)}
	if got := chainOf([]link{{1, "one"}, {2, "two"}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// A hash that was signed once must come out the same in every later version.
	const golden = "e19472966609d584c238a7a7b7510be7c15af1e695e7f60919310e72ea513e86"
	if want.Hash.String() != golden {
		t.Errorf("the hash is %s, not %s", want.Hash, golden)
	}
}

// Whatever is done to a log shows in its hash.
func TestChainShowsEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := make([]link, rapid.IntRange(1, 8).Draw(t, "commits"))
		for i := range log {
			log[i] = link{uint64(i + 1), rapid.StringN(0, 4, -1).Draw(t, "stored")}
		}
		at := rapid.IntRange(0, len(log)-1).Draw(t, "at")
		renumbered := func(l []link) []link {
			for i := range l {
				l[i].position = uint64(i + 1)
			}
			return l
		}
		changed := slices.Clone(log)
		switch change := rapid.SampledFrom([]string{"drop", "drop and renumber", "swap", "insert", "renumber", "truncate", "alter"}).Draw(t, "change"); change {
		case "drop":
			changed = slices.Delete(changed, at, at+1)
		case "drop and renumber":
			changed = renumbered(slices.Delete(changed, at, at+1))
		case "swap":
			other := rapid.IntRange(0, len(log)-1).Draw(t, "other")
			changed[at].stored, changed[other].stored = changed[other].stored, changed[at].stored
		case "insert":
			changed = renumbered(slices.Insert(changed, at, link{0, "inserted"}))
		case "renumber":
			changed[at].position += rapid.Uint64Range(1, 3).Draw(t, "by")
		case "truncate":
			changed = changed[:at]
		case "alter":
			changed[at].stored += "x"
		}
		if same := slices.Equal(log, changed); same != (chainOf(log) == chainOf(changed)) || same != (chainOf(log).Hash == chainOf(changed).Hash) {
			t.Errorf("%v and %v: equal %t, hashes %s and %s", log, changed, same, chainOf(log).Hash, chainOf(changed).Hash)
		}
	})
}

// Where bytes go from one commit to the next, or from a commit to what was before it,
// the hash is another as well.
func TestChainHasNoSeams(t *testing.T) {
	first := HashOf([]byte("first"))
	whole := chainOf([]link{{1, "ab"}, {2, "c"}}).Hash
	for _, other := range []Hash{
		chainOf([]link{{1, "a"}, {2, "bc"}}).Hash,
		chainOf([]link{{1, "abc"}}).Hash,
		chainOf([]link{{1, ""}, {2, "abc"}}).Hash,
		HashOf(append([]byte(chainPrefix), first[:]...)),
	} {
		if other == whole {
			t.Errorf("two logs have the hash %s", other)
		}
	}
}
