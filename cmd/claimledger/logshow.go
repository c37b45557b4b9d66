package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
	"github.com/claimledger/claimledger/eventstore/export"
	"github.com/claimledger/claimledger/projections"
)

type logShowCommand struct {
	Namespace string `help:"Of one namespace only." placeholder:"NAME"`
	Claim     string `help:"Of one claim only." placeholder:"CLAIM-ID"`
	From      uint64 `help:"From this position on. Default: from the start." placeholder:"POSITION"`
	To        uint64 `help:"Up to this position. Default: to the end." placeholder:"POSITION"`
	File      string `help:"Of an export instead of the log. Whether that is true, claimledger verify says." placeholder:"FILE" type:"path"`
	JSON      bool   `help:"Print a line of JSON for each event, as the API's histories have them."`
	placeSettings
}

// Help is shown below the flags.
func (logShowCommand) Help() string {
	return `Tells each event in one sentence, oldest first, with its position, its time and its namespace. Texts that somebody chose are in quotes. It
works beside a running ledger and without one, and changes nothing. Exits 1 where there is nothing of the namespace or claim that is named.

Example: claimledger log show --claim claim_01kjpz2b9f6g7h8j0k1m2n3p4q`
}

func (c *logShowCommand) Run(w *world) (err error) {
	if c.To > 0 && c.From > c.To {
		return usageError{fmt.Errorf("--from %d is after --to %d", c.From, c.To)}
	}
	out := bufio.NewWriter(w.stdout)
	defer func() { err = errors.Join(err, out.Flush()) }()
	var shown int
	show := func(r eventstore.Record) error {
		n, err := c.show(out, r)
		shown += n
		return err
	}
	if err := c.read(w, show); err != nil {
		return err
	}
	// A name that was mistyped is not one of which nothing is recorded.
	switch {
	case shown > 0:
		return nil
	case c.Claim != "":
		return fmt.Errorf("nothing of claim %s is in what was read", printable(c.Claim))
	case c.Namespace != "":
		return fmt.Errorf("nothing of namespace %s is in what was read", printable(c.Namespace))
	}
	return nil
}

// read reads what was named.
func (c *logShowCommand) read(w *world, show func(eventstore.Record) error) (err error) {
	if c.File != "" {
		return readExport(c.File, show)
	}
	stream, closeLog, err := c.joinLog(w.ctx, quiet(c.logger(w.stderr)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	err = stream.ReadAll(w.ctx, "", max(c.From, 1)-1, show)
	if errors.Is(err, errReadEnough) {
		return nil
	}
	return err
}

// readExport reads the commits that an export gives whole.
func readExport(path string, f func(eventstore.Record) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := export.NewReader(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for {
		e, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && e.Stored != nil && e.Commit == nil {
			_, err = domain.DecodeCommit(e.Stored) // says why
		}
		if err == nil && e.Stored != nil {
			err = f(eventstore.Record{Position: e.Position, Stored: e.Stored, Hash: e.Hash, Commit: e.Commit})
		}
		if errors.Is(err, errReadEnough) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// show prints what of a commit was asked for, and counts it.
func (c *logShowCommand) show(out io.Writer, r eventstore.Record) (shown int, err error) {
	switch {
	case c.To > 0 && r.Position > c.To:
		return 0, errReadEnough
	case r.Position < c.From, c.Namespace != "" && r.Commit.Namespace != c.Namespace:
		return 0, nil
	}
	events, err := projections.EventsOf(r)
	if err != nil {
		return 0, fmt.Errorf("position %d: %w", r.Position, err)
	}
	for _, e := range events {
		if c.Claim != "" && e.ClaimID != c.Claim {
			continue
		}
		if c.JSON {
			err = json.NewEncoder(out).Encode(api.HistoryLine(e))
		} else {
			sentence := domain.SummaryOf(e.Actor, e.Namespace, e.Type, e.SchemaVersion, e.Data)
			_, err = fmt.Fprintf(out, "%d  %s  %s  %s\n", e.Position, e.Time.Format(time.RFC3339), printable(e.Namespace), printable(sentence))
		}
		if err != nil {
			return shown, err
		}
		shown++
	}
	return shown, nil
}

// printable keeps what a log or a file holds from giving orders to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
