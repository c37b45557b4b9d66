package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore/export"
)

type exportCommand struct {
	Namespace string `help:"Of one namespace only; of the others the hashes, which show that nothing was altered. Default: all." placeholder:"NAME"`
	From      uint64 `help:"From this position on. Default: from the start." placeholder:"POSITION"`
	To        uint64 `help:"Up to this position. Default: to the end." placeholder:"POSITION"`
	Signed    bool   `help:"End with the newest signed head, so that all of it is signed for."`
	Output    string `short:"o" help:"The file; it is there when it is whole, and not before. Default: the standard output." placeholder:"FILE"`
	JSON      bool   `help:"Print what was exported as JSON, on the standard error where the export is on the standard output."`
	placeSettings
}

// Help is shown below the flags.
func (exportCommand) Help() string {
	return `Writes one line of JSON for each commit, with the bytes that are stored, and what claimledger verify needs: docs/export.md
describes the format. It works beside a running ledger and without one, and changes nothing. An export holds what the log
holds: addresses, hashes of keys, and secrets of webhooks, encrypted; give it to nobody who may not see that.

Exits 0 when it is whole. What ended with an error is not; begin again. Where the log contradicts its own signed head the export is whole,
as evidence, and the exit status is 1.

Example: claimledger export --namespace acme -o acme.ndjson`
}

// exported is what an export holds.
type exported struct {
	File      string `json:"file,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	From      uint64 `json:"from,string"`
	To        uint64 `json:"to,string"`
	Commits   uint64 `json:"commits"`
	Others    uint64 `json:"others"`
	End       uint64 `json:"end,string"`
	Hash      string `json:"hash"`
	SignedTo  uint64 `json:"signed_to,string"`
	KeyID     string `json:"key_id,omitempty"`
}

func (c *exportCommand) Run(w *world) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	stream, closeLog, err := c.joinLog(w.ctx, quiet(c.logger(w.stderr)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	selection := export.Selection{Namespace: c.Namespace, From: c.From, To: c.To, Signed: c.Signed}
	shown := newProgress(w.stderr, "exported positions")
	var header export.Header
	var trailer export.Trailer
	var lies *export.ContradictionError
	write := func(out io.Writer) (err error) {
		header, trailer, err = export.From(w.ctx, stream, stream.Heads(), selection, out, shown.at)
		if errors.As(err, &lies) {
			return nil // what it shows is to be kept
		}
		return err
	}
	tell := w.stdout
	if c.toFile() {
		err = writeWhole(c.Output, write)
	} else {
		tell = w.stderr
		buffered := bufio.NewWriter(w.stdout)
		err = errors.Join(write(buffered), buffered.Flush())
	}
	shown.end()
	if err != nil {
		return fmt.Errorf("nothing was exported that can be used: %w", forPerson(err))
	}
	if err := c.tell(tell, header, trailer); err != nil || lies == nil {
		return err
	}
	return lies
}

func (c *exportCommand) toFile() bool { return c.Output != "" && c.Output != "-" }

func (c *exportCommand) check() error {
	switch {
	case c.Namespace != "" && (!domain.ValidNamespace(c.Namespace) || domain.CanonicalNamespace(c.Namespace) != c.Namespace):
		return usageError{fmt.Errorf("--namespace: %q is no namespace", c.Namespace)}
	case c.Signed && c.To > 0:
		return usageError{errors.New("--signed says where it ends, and so does --to: give one of them")}
	case c.To > 0 && c.From > c.To:
		return usageError{fmt.Errorf("--from %d is after --to %d", c.From, c.To)}
	}
	return nil
}

func (c *exportCommand) tell(out io.Writer, h export.Header, t export.Trailer) error {
	e := exported{
		Namespace: h.Namespace, From: h.From, To: h.To, Commits: t.Commits, Others: t.Others, End: t.End, Hash: t.Hash.String(),
	}
	if c.toFile() {
		e.File = c.Output
	}
	head := h.Head
	if t.Head != nil {
		head = t.Head
	}
	if head != nil {
		e.SignedTo, e.KeyID = head.Position, head.KeyID
	}
	if c.JSON {
		return json.NewEncoder(out).Encode(e)
	}
	fmt.Fprintf(out, "Exported %d commits of positions %d to %d", e.Commits, e.From, e.To)
	if e.Others > 0 {
		fmt.Fprintf(out, ", and the hashes of %d others up to position %d", e.Others, e.End)
	}
	fmt.Fprintln(out, ".")
	var err error
	switch {
	case head == nil:
		_, err = fmt.Fprintln(out, "No head of it is signed.")
	case head.Position < e.To:
		_, err = fmt.Fprintf(out, "It is signed up to position %d with the key %s; what comes after is not yet.\n", e.SignedTo, e.KeyID)
	default:
		_, err = fmt.Fprintf(out, "All of it is signed with the key %s.\n", e.KeyID)
	}
	return err
}

// writeWhole has a file be there when it is whole and on the disk, and what was there
// before until then. Only its owner may read it.
func writeWhole(path string, write func(io.Writer) error) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is there and is no regular file; without -o the export goes to the standard output", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(temp, 1<<20)
	err = write(buffered)
	if err == nil {
		err = errors.Join(buffered.Flush(), temp.Sync())
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	// The name, too, is on the disk.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
