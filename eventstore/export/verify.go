package export

import (
	"errors"
	"io"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
)

// Verify checks an export with nothing but what the auditor has. The error is an
// *audit.Finding where something is wrong with it, and an *UnusableError where nothing can
// be said of it, because it is no export or a newer program's.
func Verify(in io.Reader, trust audit.Trust) (audit.Report, error) {
	report, err := verify(in, trust)
	var newer *domain.UnknownEventError
	if errors.As(err, &newer) {
		err = unusable(err)
	}
	return report, err
}

func verify(in io.Reader, trust audit.Trust) (audit.Report, error) {
	r, err := NewReader(in)
	if err != nil {
		return audit.Report{}, err
	}
	h := r.Header()
	a, err := trust.Begin(h.Scope(), h.Before.chain())
	if err != nil {
		return audit.Report{}, err
	}
	if err := expect(a, trust, h.Head, "the head in the first line"); err != nil {
		return audit.Report{}, err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = a.Add(e)
		}
		if err != nil {
			return audit.Report{}, err
		}
	}
	return conclude(r, a, trust)
}

// conclude compares what the last line says with what was read.
func conclude(r *Reader, a *audit.Auditor, trust audit.Trust) (audit.Report, error) {
	t, c := r.Trailer(), a.Chain()
	switch {
	case t.Hash != c.Hash || t.Count != c.Count:
		return audit.Report{}, r.finding(0, "the last line says that %d commits have the running hash %s; %d have the hash %s", t.Count, t.Hash, c.Count, c.Hash)
	case c.Position < r.head.To:
		return audit.Report{}, r.finding(0, "it is to go on to position %d, and ends at %d", r.head.To, c.Position)
	case t.Head != nil && t.Head.Position != c.Position:
		return audit.Report{}, r.finding(0, "the head in the last line is of position %d, and not of the end", t.Head.Position)
	}
	if err := expect(a, trust, t.Head, "the head in the last line"); err != nil {
		return audit.Report{}, err
	}
	return trust.End(a)
}

func expect(a *audit.Auditor, trust audit.Trust, h *domain.LogHead, source string) error {
	if h == nil {
		return nil
	}
	p, err := trust.Pin(*h, source)
	if err != nil {
		return err
	}
	return a.Expect(p)
}
