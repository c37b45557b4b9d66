package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/claimledger/claimledger/cmd/claimledger/capture"
)

type verifyRequestCommand struct {
	Request string   `help:"A file with the request as it came: headers, an empty line, the body; - is standard input." placeholder:"FILE"`
	Header  []string `short:"H" sep:"none" help:"Or the headers, one by one." placeholder:"NAME:VALUE"`
	Body    string   `help:"With -H, a file with the body to its last byte; - is standard input." placeholder:"FILE"`
	At      string   `help:"When the request came. Default: now." placeholder:"RFC3339"`
	webhookSecretSettings
	JSON bool `help:"Print JSON."`
}

// Help is shown below the flags.
func (verifyRequestCommand) Help() string {
	return `Says of both signatures of a captured webhook request whether they verify, and else what is wrong: a header that
is missing, repeated or malformed, a time more than 5 minutes off, another secret, or a body that was altered, and how
where that can be found out: white space, a cut end, a framework that parsed and wrote it anew.

Exits 0 when the request verifies, 1 when it does not, 2 when there was nothing to verify. webhook-signature decides,
and X-Sigilum-Signature where there is nothing of the other.

Example: claimledger webhooks verify --request captured.txt --webhook-secret-file secret.txt --at 2026-03-02T11:00:01Z`
}

func (c *verifyRequestCommand) Run(w *world) error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	at := time.Now()
	if c.At != "" {
		if at, err = time.Parse(time.RFC3339, c.At); err != nil {
			return usageError{fmt.Errorf("--at: %q is no time such as 2026-03-02T11:00:01Z", c.At)}
		}
	}
	request, err := c.captured()
	if err != nil {
		return usageError{err}
	}
	report := capture.Check(request, secret, at)
	if err := c.print(w.stdout, report); err != nil {
		return err
	}
	if !report.Verified {
		return errors.New("the request does not verify")
	}
	return nil
}

// captured reads the request from where it is.
func (c *verifyRequestCommand) captured() (capture.Request, error) {
	switch {
	case c.Request != "" && len(c.Header) == 0 && c.Body == "":
		raw, err := readInput("--request", c.Request)
		if err != nil {
			return capture.Request{}, err
		}
		return capture.Parse(raw)
	case c.Request == "" && len(c.Header) > 0 && c.Body != "":
		body, err := readInput("--body", c.Body)
		if err != nil {
			return capture.Request{}, err
		}
		return capture.New(c.Header, body)
	}
	return capture.Request{}, errors.New("either --request is needed, or -H for each header and --body")
}

// readInput reads a file, or standard input, no further than what is taken.
func readInput(flag, path string) ([]byte, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, capture.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return text, nil
}

func (c *verifyRequestCommand) print(out io.Writer, report capture.Report) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(report)
	}
	var text strings.Builder
	switch {
	case report.Sequence > 0:
		fmt.Fprintf(&text, "%s %s, sequence %d\n", report.Event, report.ID, report.Sequence)
	case report.ID != "":
		fmt.Fprintf(&text, "%s %s\n", report.Event, report.ID)
	}
	for _, f := range report.Findings {
		result := "verifies"
		if !f.Verified {
			result = "does not verify: " + f.Problem
		}
		fmt.Fprintf(&text, "%-19s  %s\n", f.Header, result)
	}
	_, err := io.WriteString(out, text.String())
	return err
}
