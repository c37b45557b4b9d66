package eventstore

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/claimledger/claimledger/domain"
)

const (
	// maxRecent is how many decoded commits are kept: more than a second of the fastest
	// writing, which is further than the readers of a process are apart when they keep up.
	maxRecent = 8192
	// maxRecentBytes bounds the stored bytes of one that is kept, and all of them with it
	// to some 100 MB, where common ones take a quarter of that.
	maxRecentBytes = 4096
)

// recent keeps commits decoded, by the hash of their bytes. Whoever appends one reads it
// back first, and half a dozen readers of the same process follow the log: for each of
// them to decode it again took a quarter of what the process did under load.
type recent struct {
	commits *lru.Cache[domain.Hash, *domain.Commit]
}

func newRecent() *recent {
	commits, err := lru.New[domain.Hash, *domain.Commit](maxRecent)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &recent{commits}
}

func (r *recent) keep(rec Record) {
	if rec.Commit != nil && len(rec.Stored) <= maxRecentBytes {
		r.commits.Add(rec.Hash, rec.Commit)
	}
}

func (r *recent) decode(subject string, position uint64, stored []byte) (Record, error) {
	hash := domain.HashOf(stored)
	if commit, ok := r.commits.Get(hash); ok && Subject(commit.Boundary()) == subject {
		return Record{Position: position, Stored: stored, Hash: hash, Commit: commit}, nil
	}
	rec, err := decode(subject, position, stored)
	if err == nil {
		r.keep(rec)
	}
	return rec, err
}
