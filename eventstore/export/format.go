// Package export is the file in which a log leaves its ledger: one line for each commit
// with its stored bytes, and what it takes to check them without the ledger. It never
// says what is true; that is for whoever checks it.
//
// docs/export.md describes the format.
package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore"
)

// What the first line of every export of this format says.
const (
	formatName    = "claimledger-export"
	formatVersion = 1
)

// maxLine bounds a line with its end. A stored byte takes six at the most (\u00XX), and
// beside the commit stand a few hundred more.
const maxLine = 6*eventstore.MaxMessageSize + 4096

// point is a place in the log with the running hash up to there.
type point struct {
	Position uint64      `json:"position,string"`
	Count    uint64      `json:"count,string"`
	Hash     domain.Hash `json:"hash"`
}

func pointOf(c domain.Chain) point { return point{c.Position, c.Count, c.Hash} }

func (p point) chain() domain.Chain {
	return domain.Chain{Position: p.Position, Count: p.Count, Hash: p.Hash}
}

// Header is the first line.
type Header struct {
	Format    string `json:"format"`
	Version   int    `json:"version"`
	Namespace string `json:"namespace"` // empty: all
	From      uint64 `json:"from,string"`
	To        uint64 `json:"to,string"`
	// Before is the log before the first position.
	Before point `json:"before"`
	// Head is the last signed head of a position up to To, if there is one that has to do
	// with what is given.
	Head *domain.LogHead `json:"head,omitempty"`
}

// Scope is which commits the export gives whole.
func (h Header) Scope() audit.Scope {
	return audit.Scope{Namespace: h.Namespace, From: h.From, To: h.To}
}

// commitLine is a line for a commit that is given whole. One of Stored and StoredBase64 is
// there: base64 for bytes that no JSON text can hold.
type commitLine struct {
	Position     uint64      `json:"position,string"`
	Subject      string      `json:"subject"`
	Hash         domain.Hash `json:"hash"` // running
	Stored       *string     `json:"stored,omitempty"`
	StoredBase64 []byte      `json:"stored_base64,omitempty"`
}

func newCommitLine(c domain.Chain, subject string, stored []byte) commitLine {
	l := commitLine{Position: c.Position, Subject: subject, Hash: c.Hash}
	if text := string(stored); utf8.ValidString(text) {
		l.Stored = &text
	} else {
		l.StoredBase64 = stored
	}
	return l
}

func (l commitLine) stored() []byte {
	if l.Stored != nil {
		return []byte(*l.Stored)
	}
	return l.StoredBase64
}

// otherLine is a line for a commit of which only the hash is given.
type otherLine struct {
	Other  uint64      `json:"other,string"` // position
	Commit domain.Hash `json:"commit"`
}

// Trailer is the last line.
type Trailer struct {
	End     uint64      `json:"end,string"` // position
	Count   uint64      `json:"count,string"`
	Hash    domain.Hash `json:"hash"` // running
	Commits uint64      `json:"commits,string"`
	Others  uint64      `json:"others,string"`
	Lines   domain.Hash `json:"lines"` // SHA-256 of all lines before, their ends included
	// Head is a signed head of the position End, where the one in the header is not.
	Head *domain.LogHead `json:"head,omitempty"`
}

// encode gives the one way in which a line is written.
func encode(line any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(line) // with a line's end
	return out.Bytes(), err
}

// decode reads a line, and refuses one that is written in another way than encode has:
// what says the same must be the same bytes, or two readers could see two things in it.
func decode[T any](raw []byte) (line T, err error) {
	if err := json.Unmarshal(raw, &line); err != nil {
		return line, err
	}
	again, err := encode(line)
	if err == nil && !bytes.Equal(raw, again) {
		err = fmt.Errorf("it is not written as an export writes it")
	}
	return line, err
}
