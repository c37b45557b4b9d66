package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore"
)

// UnusableError means that nothing can be said of a file: it is not an export, or one
// of a format that this program does not know, or cannot be read.
type UnusableError struct{ Err error }

func (e *UnusableError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnusableError) Unwrap() error { return e.Err }

// Reader reads an export, and holds at most one line of it. It makes sure of how the file
// is written, and leaves to others what is.
type Reader struct {
	in    *bufio.Reader
	line  uint64 // that was read last, from 1
	lines hash.Hash
	head  Header
	last  uint64 // position

	commits, others uint64
	trailer         *Trailer
}

// NewReader reads the first line. The error is an *UnusableError where that is not the
// first line of an export.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), lines: sha256.New()}
	raw, err := r.next()
	if err != nil {
		return nil, unusable(err)
	}
	if !bytes.HasPrefix(raw, []byte(`{"format":"`+formatName+`","version":`)) {
		return nil, unusable(errors.New("its first line is not that of an export of a ledger"))
	}
	r.head, err = decode[Header](raw)
	switch h := r.head; {
	case h.Version > formatVersion:
		return nil, unusable(fmt.Errorf("it is in version %d of the format, and this program reads version %d", h.Version, formatVersion))
	case err != nil:
		return nil, r.finding(0, "the first line cannot be read: %v", err)
	case h.Version != formatVersion || h.Format != formatName || h.From == 0 || h.Before.Position != h.From-1 || h.To < h.Before.Position || h.From == 1 && h.Before != point{}:
		return nil, r.finding(0, "the first line contradicts itself")
	case h.Head != nil && (h.Head.Position < h.Before.Position || h.Head.Position > h.To):
		return nil, r.finding(0, "the head in the first line is of position %d, which has nothing to do with what is given", h.Head.Position)
	}
	r.lines.Write(raw)
	r.last = r.head.Before.Position
	return r, nil
}

func unusable(err error) error {
	var read *UnusableError
	if errors.As(err, &read) {
		return err
	}
	return &UnusableError{err}
}

// Header is the first line.
func (r *Reader) Header() Header { return r.head }

// Trailer is the last line, once Next has come to it.
func (r *Reader) Trailer() *Trailer { return r.trailer }

// Next reads the next line but the first and the last. At the end it gives io.EOF, if the
// last line says of those before it what they are. The error is an *audit.Finding where
// the file is not as it was written, and an *UnusableError where it cannot be read.
func (r *Reader) Next() (audit.Entry, error) {
	if r.trailer != nil {
		return audit.Entry{}, io.EOF
	}
	raw, err := r.next()
	var read *UnusableError
	switch {
	case errors.As(err, &read):
		return audit.Entry{}, err
	case err != nil:
		return audit.Entry{}, r.finding(0, "%v", err)
	case bytes.HasPrefix(raw, []byte(`{"end":`)):
		return audit.Entry{}, r.end(raw)
	}
	r.lines.Write(raw)
	switch {
	case bytes.HasPrefix(raw, []byte(`{"position":`)):
		return r.commit(raw)
	case bytes.HasPrefix(raw, []byte(`{"other":`)):
		return r.other(raw)
	}
	return audit.Entry{}, r.finding(0, "it is no line of an export")
}

func (r *Reader) other(raw []byte) (audit.Entry, error) {
	l, err := decode[otherLine](raw)
	if err != nil {
		return audit.Entry{}, r.finding(r.last+1, "the line cannot be read: %v", err)
	}
	r.last, r.others = l.Other, r.others+1
	return audit.Entry{Position: l.Other, Hash: l.Commit}, nil
}

func (r *Reader) commit(raw []byte) (audit.Entry, error) {
	l, err := decode[commitLine](raw)
	stored := l.stored()
	switch {
	case err != nil:
		return audit.Entry{}, r.finding(r.last+1, "the line cannot be read: %v", err)
	case len(stored) == 0 || l.Hash.IsZero():
		return audit.Entry{}, r.finding(l.Position, "the line has no commit or no running hash")
	case l.Stored != nil && l.StoredBase64 != nil || l.Stored == nil && utf8.Valid(stored):
		return audit.Entry{}, r.finding(l.Position, "the line is not written as an export writes it")
	}
	r.last, r.commits = l.Position, r.commits+1
	e := audit.Entry{Position: l.Position, Boundary: boundaryOf(l.Subject), Hash: domain.HashOf(stored), Running: l.Hash, Stored: stored}
	// What cannot be read is the auditor's to find, once he knows the bytes for the right ones.
	if c, err := domain.DecodeCommit(stored); err == nil {
		if e.Commit = c; eventstore.Subject(c.Boundary()) != l.Subject {
			f := r.finding(l.Position, "it stands on the subject %s", l.Subject)
			f.Boundary, f.CommitID = c.Boundary(), c.ID
			return e, f
		}
	}
	return e, nil
}

// boundaryOf is the boundary of a subject; zero where it is the subject of none.
func boundaryOf(subject string) domain.Boundary {
	parts := strings.Split(subject, ".")
	if len(parts) != 3 {
		return domain.Boundary{}
	}
	b := domain.Boundary{Namespace: parts[1], Kind: domain.Kind(parts[2])}
	if !domain.ValidNamespace(b.Namespace) || eventstore.Subject(b) != subject {
		return domain.Boundary{}
	}
	return b
}

// end reads the last line, behind which there is nothing.
func (r *Reader) end(raw []byte) error {
	t, err := decode[Trailer](raw)
	if err != nil {
		return r.finding(0, "the last line cannot be read: %v", err)
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return r.finding(0, "something stands behind the last line")
	case !errors.Is(err, io.EOF):
		return unusable(err)
	}
	if got := domain.Hash(r.lines.Sum(nil)); t.Lines != got {
		return r.finding(0, "the lines before the last are not those that it was written for: they have the hash %s, and it says %s", got, t.Lines)
	}
	if t.End != r.last || t.Commits != r.commits || t.Others != r.others {
		return r.finding(0, "the last line tells of %d commits and %d hashes up to position %d; there are %d and %d, up to position %d",
			t.Commits, t.Others, t.End, r.commits, r.others, r.last)
	}
	r.trailer = &t
	return io.EOF
}

// finding is about the line that was read last.
func (r *Reader) finding(position uint64, format string, args ...any) *audit.Finding {
	return &audit.Finding{Position: position, What: fmt.Sprintf("line %d: ", r.line) + fmt.Sprintf(format, args...)}
}

var errCutOff = errors.New("the file ends in the middle: it was cut off")

// next reads a line with its end. The error is an *UnusableError where the trouble is not
// what the file holds.
func (r *Reader) next() ([]byte, error) {
	r.line++
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("a line is longer than %d bytes", maxLine)
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, errCutOff
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, &UnusableError{err}
		}
	}
}
