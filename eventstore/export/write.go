package export

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// Writer writes one export, line by line. What it was given stays only in the running
// hash. An export without its last line is not one.
type Writer struct {
	out   io.Writer
	head  Header
	chain domain.Chain
	lines hash.Hash

	commits, others uint64
}

// NewWriter writes the first line. Format and Version are filled in.
func NewWriter(out io.Writer, h Header) (*Writer, error) {
	h.Format, h.Version = formatName, formatVersion
	w := &Writer{out: out, head: h, chain: h.Before.chain(), lines: sha256.New()}
	return w, w.line(h)
}

// Chain is the log up to the last line.
func (w *Writer) Chain() domain.Chain { return w.chain }

// Add writes the next commit: whole, where the export is of it, or else its hash.
func (w *Writer) Add(r eventstore.Record) error {
	if r.Position != w.chain.Position+1 {
		return fmt.Errorf("position %d was to be exported after position %d", r.Position, w.chain.Position)
	}
	w.chain = w.chain.Then(r.Position, r.Hash)
	if !w.head.Scope().Has(r.Position, r.Commit.Namespace) {
		w.others++
		return w.line(otherLine{r.Position, r.Hash})
	}
	w.commits++
	return w.line(newCommitLine(w.chain, eventstore.Subject(r.Commit.Boundary()), r.Stored))
}

// End writes the last line. signed is a head of the position that was written last; nil
// where there is none.
func (w *Writer) End(signed *domain.LogHead) (Trailer, error) {
	t := Trailer{
		End: w.chain.Position, Count: w.chain.Count, Hash: w.chain.Hash, Commits: w.commits, Others: w.others,
		Lines: domain.Hash(w.lines.Sum(nil)), Head: signed,
	}
	return t, w.line(t)
}

func (w *Writer) line(line any) error {
	raw, err := encode(line)
	if err != nil {
		return err
	}
	w.lines.Write(raw)
	_, err = w.out.Write(raw)
	return err
}
