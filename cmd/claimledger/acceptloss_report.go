package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/claimledger/claimledger/eventstore"
)

// lossFound is where the log ends, and what is known of it that is not in it.
type lossFound struct {
	End            *logEnd         `json:"end,omitempty"`
	LostAtLeast    uint64          `json:"lost_at_least"` // commits
	Contradictions []contradiction `json:"contradictions"`
}

type logEnd struct {
	Position string     `json:"position"`
	Hash     string     `json:"hash,omitempty"`
	Time     *time.Time `json:"time,omitempty"` // of the last commit
}

type contradiction struct {
	Holder   string `json:"holder"`
	Position string `json:"position"`
	Hash     string `json:"hash,omitempty"` // of the commit there, or of the commits up to there
	Found    string `json:"found"`
}

// lossReport is what the operator is told.
type lossReport struct {
	Compared []string `json:"compared_with"`
	BrokenAt string   `json:"broken_at,omitempty"`
	Found    string   `json:"found,omitempty"`
	lossFound
	Costs    []string `json:"costs,omitempty"`
	ToDo     []string `json:"to_do,omitempty"`
	Command  string   `json:"command,omitempty"`
	Accepted bool     `json:"accepted"`
	Done     []string `json:"done,omitempty"`
	Left     []string `json:"left,omitempty"` // to somebody else
}

// foundBy puts what a look has shown into words.
func foundBy(a *acceptance) lossFound {
	s := a.survey
	f := lossFound{End: &logEnd{Position: fmt.Sprint(s.End.Position)}, LostAtLeast: lostAtLeast(s), Contradictions: []contradiction{}}
	if s.End.Position > 0 {
		f.End.Hash, f.End.Time = s.End.Hash.String(), &s.Time
	}
	for _, c := range a.contradictions() {
		shown := contradiction{Holder: c.Holder, Position: fmt.Sprint(c.Position), Found: c.Found}
		if !c.Hash.IsZero() {
			shown.Hash = c.Hash.String()
		}
		f.Contradictions = append(f.Contradictions, shown)
	}
	return f
}

// lostAtLeast counts the commits that are known to have been there: up to the furthest
// that somebody knows, and those whose place another one has.
func lostAtLeast(s eventstore.Survey) uint64 {
	furthest := s.End.Position
	replaced := map[uint64]bool{}
	for _, c := range s.Lost {
		if furthest = max(furthest, c.Position); c.Position <= s.End.Position {
			replaced[c.Position] = true
		}
	}
	for _, c := range []*eventstore.Contradiction{s.Store, s.Heads} {
		if c != nil {
			furthest = max(furthest, c.Position)
		}
	}
	if furthest == s.End.Position && len(replaced) == 0 && s.Heads != nil && s.Heads.Position > 0 {
		return 1 // one of those that the head was signed for is another
	}
	return furthest - s.End.Position + uint64(len(replaced))
}

func (r *lossReport) tell(a *acceptance) {
	r.lossFound = foundBy(a)
	if a.survey.Heads != nil && a.server == nil {
		r.Left = []string{
			"As NATS's administrator, with all processes of the ledger stopped: keep the heads that were signed (nats stream backup " + eventstore.HeadsStreamName +
				" DIRECTORY), delete that stream (nats stream rm " + eventstore.HeadsStreamName + "), and make it anew: claimledger setup.",
		}
	}
}

// propose says what accepting comes to.
func (r *lossReport) propose(a *acceptance, steps []step, command string) {
	end := a.survey.End.Position
	r.Command = command
	for _, s := range steps {
		r.ToDo = append(r.ToDo, s.what)
	}
	r.Costs = []string{
		"What the lost commits decided is as if it had not been: what was revoked, deactivated or signed out in them is good again, and has to be decided again.",
		fmt.Sprintf("Positions after %d are given to other commits: caches that follow the feed and came further have to be filled anew.", end),
	}
	if a.lost(a.models) != nil {
		r.Costs = append(r.Costs, "Read models are built again; until then reads are behind.")
	}
	if a.lost(a.relay) != nil {
		r.Costs = append(r.Costs, "Every webhook event is sent again, with the sequence that it has in the log as it is now: receivers that keep how far they came, and came further, have to go back.")
	}
	if a.survey.Heads != nil {
		r.Costs = append(r.Costs, "Heads that were signed for what is lost do not lead to the log any more: whoever kept one will, rightly, find that.")
	}
}

// end prints the report, and gives the error that the command ends with.
func (r *lossReport) end(w *world, asJSON bool, err error) error {
	if asJSON {
		return errors.Join(json.NewEncoder(w.stdout).Encode(r), err)
	}
	var out strings.Builder
	r.print(&out)
	_, printed := io.WriteString(w.stdout, out.String())
	return errors.Join(printed, err)
}

func (r *lossReport) print(out io.Writer) {
	fmt.Fprintf(out, "Compared with: %s.\n", strings.Join(r.Compared, "; "))
	if r.Found != "" {
		fmt.Fprintf(out, "The log contradicts itself at position %s: %s.\nNobody can go on with what is left of it. Only a copy of the log helps: claimledger log check --help.\n", r.BrokenAt, r.Found)
		return
	}
	fmt.Fprintf(out, "The log ends at position %s", r.End.Position)
	if r.End.Time != nil {
		fmt.Fprintf(out, ", with a commit of %s", r.End.Time.Format(time.RFC3339))
	}
	if len(r.Contradictions) == 0 {
		fmt.Fprintln(out, ". Nothing that is known of it contradicts it: there is nothing to accept.")
		return
	}
	fmt.Fprintf(out, ". Commits that are known to be lost: %d at least.\n", r.LostAtLeast)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.Contradictions {
		fmt.Fprintf(table, "  %s\tposition %s\t%s\n", c.Holder, c.Position, c.Found)
	}
	_ = table.Flush() // to memory
	bullets(out, "To go on without them costs this, and cannot be undone:", r.Costs)
	bullets(out, "What would be done:", r.ToDo)
	bullets(out, "Done:", r.Done)
	bullets(out, "Left to do:", r.Left)
	if r.Command != "" {
		fmt.Fprintf(out, "If the log's directory and the database are this ledger's and saved as they are, and no copy of the log is left that has more:\n  %s\n", r.Command)
	}
	if r.Accepted && len(r.Left) == 0 {
		fmt.Fprintln(out, "The loss is accepted; start the ledger.")
	}
}

func bullets(out io.Writer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintln(out, title)
	for _, item := range items {
		fmt.Fprintf(out, "  - %s\n", item)
	}
}

// shellWord quotes a word for a shell, where that is needed.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
