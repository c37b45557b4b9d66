package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore/export"
)

// verifyLive is what the log itself is called on verify's command line.
const verifyLive = "live"

type verifyCommand struct {
	What    string   `arg:"" name:"file|live" help:"An export; or live, for the log itself."`
	HeadKey []string `help:"The id of a key that the ledger signs heads with, or the key, as you were told it on a way that you trust. May be given again." placeholder:"KEY"`
	Head    []string `help:"A file with a head that you took from /v1/log/head, or several. May be given again." placeholder:"FILE" type:"path"`
	Signed  bool     `help:"Fail unless all of it is covered by a head that is signed with such a key, or that you kept."`
	JSON    bool     `help:"Print JSON."`
	placeSettings
}

// Help is shown below the flags.
func (verifyCommand) Help() string {
	return `Checks that positions, versions, hashes and times follow one another; that each decision could be made on the state that the
commits before it give, with its limits; and that this is the log that was signed for. It names the first commit that is at
fault, and says what was not shown. An export needs no server and no key of the ledger's: only what you give it here. Without --head-key
or --head nobody can tell an export from one that somebody made up.

With live it reads the log of --data-dir or --nats-url, and compares all signed heads that the ledger has published; with --database-url
also what the read models and the webhook relay were built up to, and which claims are served as what.

Exits 0 when nothing is wrong, 1 when something is, 2 when nothing can be said: no such file, no export, a newer program's, a log
that cannot be reached; and 3 when nothing that is there is wrong, but it ends before a head that you keep, or no head covers it: it is older, or was
cut off. Take heads first, and export last. It keeps the state of all namespaces in memory.

Example: claimledger verify ledger.ndjson --head-key ed25519-3f0c… --head head-of-last-month.json`
}

func (c *verifyCommand) Run(w *world) error {
	trust, err := c.trust()
	if errors.As(err, new(usageError)) {
		return err
	}
	if err != nil {
		return c.tell(w.stdout, audit.Report{}, err)
	}
	shown := newProgress(w.stderr, "verified")
	var report audit.Report
	if c.What == verifyLive {
		report, err = c.live(w, trust, shown)
	} else {
		report, err = verifyFile(c.What, trust, shown)
	}
	shown.end()
	return c.tell(w.stdout, report, err)
}

// trust reads what the auditor has.
func (c *verifyCommand) trust() (audit.Trust, error) {
	t := audit.Trust{Signed: c.Signed}
	for _, told := range c.HeadKey {
		id, err := domain.ParseHeadKeyID(told)
		if err != nil {
			return t, usageError{fmt.Errorf("--head-key: %w", err)}
		}
		t.Keys = append(t.Keys, id)
	}
	for _, path := range c.Head {
		heads, err := readHeads(path)
		if err != nil {
			return t, fmt.Errorf("--head: %s: %w", path, err)
		}
		t.Heads = append(t.Heads, heads...)
	}
	return t, nil
}

// maxHeads bounds a file of heads, in bytes: more than a hundred thousand of them.
const maxHeads = 64 << 20

// readHeads reads heads as /v1/log/head answers them, one after another.
func readHeads(path string) ([]domain.LogHead, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, pathless(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHeads+1))
	switch {
	case err != nil:
		return nil, pathless(err)
	case len(text) > maxHeads:
		return nil, fmt.Errorf("it has more than %d bytes, and is no file of heads", maxHeads)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("it is empty")
	}
	var heads []domain.LogHead
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		rest := bytes.TrimLeft(text[d.InputOffset():], " \t\r\n")
		if len(rest) == 0 {
			return heads, nil
		}
		var h domain.LogHead
		err := d.Decode(&h)
		if err == nil {
			err = h.Verify()
		}
		if err != nil {
			line := 1 + bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
			return nil, fmt.Errorf("what begins on line %d is no head of a log: %w", line, err)
		}
		heads = append(heads, h)
	}
}

// pathless is the reason alone, for who names the file himself.
func pathless(err error) error {
	var known *fs.PathError
	if errors.As(err, &known) {
		return known.Err
	}
	return err
}

func verifyFile(path string, trust audit.Trust, shown *progress) (audit.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return audit.Report{}, err
	}
	defer f.Close()
	var size uint64
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = uint64(info.Size())
	}
	return export.Verify(&watchedFile{in: f, size: size, shown: shown}, trust)
}

// watchedFile shows how far something is read.
type watchedFile struct {
	in         io.Reader
	read, size uint64
	shown      *progress
}

func (r *watchedFile) Read(b []byte) (int, error) {
	n, err := r.in.Read(b)
	r.read += uint64(n)
	r.shown.at(r.read, r.size)
	return n, err
}

// verified is the outcome, for machines.
type verified struct {
	Result    string       `json:"result"` // ok, tampered, incomplete or unusable
	Finding   *found       `json:"finding,omitempty"`
	Namespace string       `json:"namespace,omitempty"`
	From      uint64       `json:"from,string,omitempty"`
	To        uint64       `json:"to,string,omitempty"`
	Hash      string       `json:"hash,omitempty"` // running, at the end
	SureTo    uint64       `json:"sure_to,string"` // the last position that a trusted head covers
	Tally     *audit.Tally `json:"tally,omitempty"`
	Proven    []string     `json:"proven,omitempty"`
	NotProven []string     `json:"not_proven,omitempty"`
}

// found is what is at fault.
type found struct {
	Position uint64 `json:"position,string,omitempty"`
	Boundary string `json:"boundary,omitempty"`
	CommitID string `json:"commit_id,omitempty"`
	What     string `json:"what"`
}

func (c *verifyCommand) tell(out io.Writer, r audit.Report, err error) error {
	var finding *audit.Finding
	var lacking *audit.Incomplete
	v := verified{Result: "ok", Namespace: r.Scope.Namespace, From: r.Scope.From, To: r.Scope.To, Proven: r.Proven(), NotProven: r.NotProven(), SureTo: r.Sure(), Tally: &r.Tally}
	if !r.End.Hash.IsZero() {
		v.Hash = r.End.Hash.String()
	}
	switch {
	case errors.As(err, &lacking):
		v.Result, v.Finding = "incomplete", &found{What: short(lacking.What)}
	case errors.As(err, &finding):
		v = verified{Result: "tampered", Finding: &found{Position: finding.Position, CommitID: short(finding.CommitID), What: short(finding.What)}}
		if finding.Boundary != (domain.Boundary{}) {
			v.Finding.Boundary = finding.Boundary.String()
		}
	case err != nil:
		v = verified{Result: "unusable", Finding: &found{What: short(err.Error())}}
	}
	if c.JSON {
		if err := json.NewEncoder(out).Encode(v); err != nil {
			return err
		}
	} else if err := v.print(out, r); err != nil {
		return err
	}
	switch v.Result {
	case "tampered":
		return fmt.Errorf("%s is not what a ledger has recorded", c.What)
	case "incomplete":
		return incompleteError{fmt.Errorf("%s is less than what was to be shown", c.What)}
	case "unusable":
		return undecidedError{fmt.Errorf("nothing can be said of %s", c.What)}
	}
	return nil
}

// maxTold bounds, in bytes, what is repeated of a file that may be anything.
const maxTold = 1000

func short(text string) string {
	if len(text) <= maxTold {
		return text
	}
	return strings.ToValidUTF8(text[:maxTold], "") + "…"
}

func (v verified) print(out io.Writer, r audit.Report) error {
	var text strings.Builder
	if f := v.Finding; f != nil {
		fmt.Fprintf(&text, "%s: %s\n", map[string]string{"tampered": "Something is wrong", "incomplete": "Not all is shown", "unusable": "It cannot be verified"}[v.Result], printable(f.What))
		for _, line := range [][2]string{{"position", fmt.Sprint(f.Position)}, {"boundary", f.Boundary}, {"commit", f.CommitID}} {
			if line[1] != "" && line[1] != "0" {
				fmt.Fprintf(&text, "  %-9s %s\n", line[0], printable(line[1]))
			}
		}
	}
	if v.Tally != nil {
		if r.Nothing() {
			fmt.Fprintf(&text, "WARNING: no commit of %s is here.\n", printable(v.Namespace))
		}
		text.WriteString(map[bool]string{true: "Nothing is wrong", false: "Nothing that is there is wrong"}[v.Finding == nil])
		fmt.Fprintf(&text, ": %d commits with %d events in %d namespaces, positions %d to %d", r.Tally.Commits, r.Tally.Events, r.Tally.Namespaces, r.Scope.From, r.Scope.To)
		if r.Tally.Others > 0 {
			fmt.Fprintf(&text, ", and hashes of %d others up to position %d", r.Tally.Others, r.End.Position)
		}
		text.WriteString(".\n")
		if v.Namespace != "" {
			fmt.Fprintf(&text, "  namespace %s\n", printable(v.Namespace))
		}
		fmt.Fprintf(&text, "  claims   ")
		for _, status := range domain.Statuses {
			fmt.Fprintf(&text, " %d %s", r.Tally.Claims[status], status)
		}
		fmt.Fprintf(&text, "\n  hash      %s\n", v.Hash)
		printList(&text, "Shown", v.Proven)
		printList(&text, "Not shown", v.NotProven)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func printList(text *strings.Builder, title string, list []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(text, "%s:\n", title)
	for _, sentence := range list {
		fmt.Fprintf(text, "- %s\n", printable(sentence))
	}
}
