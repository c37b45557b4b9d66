package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// trace is what a ledger's system calls, as strace -f -y wrote them down, say of its claims:
// when each was written to the log, when that was on disk, and when anything of it left
// the process for the first time.
type trace struct {
	listens, receiver string                 // the addresses of the ledger and of a webhook's endpoint
	commits           map[domain.Hash]string // hash → claim

	at         int                        // the line
	calls      map[string]*call           // on their way, by thread
	dirty      []*written                 // not synced yet
	claims     map[string]*written        // by id
	left       map[string]map[string]bool // where to → claims
	violations []string
}

// call is a system call.
type call struct {
	name, file string
	args       string
	covers     []*written // what a sync found written when it began
}

// written is a claim that was written to the log.
type written struct {
	synced int // the line in which the first sync ended that covered it; 0: none has yet
}

// Where something of a claim may go.
const (
	toClients  = "clients"
	toDatabase = "PostgreSQL"
	// A checkpoint names its commit by the hash, and so does the history.
	toCheckpoint = "PostgreSQL as a hash"
	toReceiver   = "a receiver"
	elsewhere    = "somewhere else"
)

var (
	threadText = regexp.MustCompile(`^(\d+) +(.*)$`)
	callText   = regexp.MustCompile(`^(\w+)\(\d+<((?:->|[^>])*)>(.*)$`)
	resumed    = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	claimText  = regexp.MustCompile(`claim_[0-9a-z]{26}`)
	// blockFile is a file that holds the messages of the ledger's stream, and no other's.
	blockFile = regexp.MustCompile(`/streams/LEDGER/msgs/\d+\.blk$`)
)

// readTrace reads what strace wrote of a ledger that listens at an address and sends
// webhooks to another. without are lines that it is to overlook.
func readTrace(text, listens, receiver string, commits map[domain.Hash]string, without func(at int, line string) bool) *trace {
	tr := &trace{
		listens: listens, receiver: receiver, commits: commits,
		calls: map[string]*call{}, claims: map[string]*written{}, left: map[string]map[string]bool{},
	}
	for line := range strings.Lines(text) {
		tr.at++
		m := threadText.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m != nil && (without == nil || !without(tr.at, line)) {
			tr.line(m[1], m[2])
		}
	}
	return tr
}

// line is about one thread. A call that another thread's line came between is on two: its
// first begins it, and its second ends it.
func (tr *trace) line(thread, text string) {
	if m := resumed.FindStringSubmatch(text); m != nil {
		if c := tr.calls[thread]; c != nil && c.name == m[1] {
			delete(tr.calls, thread)
			tr.end(c, m[2])
		}
		return
	}
	m := callText.FindStringSubmatch(text)
	if m == nil {
		return
	}
	c := &call{name: m[1], file: m[2], args: m[3]}
	tr.begin(c)
	if strings.HasSuffix(text, "<unfinished ...>") {
		tr.calls[thread] = c
		return
	}
	tr.end(c, m[3])
}

// begin is when what a call writes leaves the process, at the earliest; and a sync covers
// what had been written by then.
func (tr *trace) begin(c *call) {
	switch c.name {
	case "fsync", "fdatasync":
		if blockFile.MatchString(c.file) {
			c.covers, tr.dirty = tr.dirty, nil
		}
	case "write", "pwrite64", "writev", "sendto", "sendmsg":
		if to := tr.destination(c.file); to != "" {
			tr.leaves(to, c.args)
		}
	}
}

// end is when what a call wrote to a file is there, at the latest; and what a sync covers
// is on disk, if it went well.
func (tr *trace) end(c *call, result string) {
	if !blockFile.MatchString(c.file) {
		return
	}
	switch c.name {
	case "write", "pwrite64", "writev":
		for _, claim := range claimText.FindAllString(c.args, -1) {
			if tr.claims[claim] == nil {
				w := &written{}
				tr.claims[claim], tr.dirty = w, append(tr.dirty, w)
			}
		}
	case "fsync", "fdatasync":
		if !strings.HasSuffix(strings.TrimSpace(result), "= 0") {
			tr.violations = append(tr.violations, "a sync of the log failed: "+result)
			return
		}
		for _, w := range c.covers {
			w.synced = tr.at
		}
	}
}

// destination is who reads what is written to a connection.
func (tr *trace) destination(file string) string {
	switch {
	case strings.HasPrefix(file, "TCP:["+tr.listens+"->"):
		return toClients
	case strings.HasSuffix(file, "->"+tr.receiver+"]"):
		return toReceiver
	case strings.HasPrefix(file, "TCP"):
		return elsewhere
	case strings.HasPrefix(file, "UNIX"):
		return toDatabase
	}
	return ""
}

func (tr *trace) leaves(to, text string) {
	for _, claim := range claimText.FindAllString(text, -1) {
		tr.leave(to, claim)
	}
	if to != toDatabase || len(tr.commits) == 0 {
		return
	}
	raw := unescape(text)
	for i := range len(raw) - len(domain.Hash{}) + 1 {
		if claim := tr.commits[domain.Hash(raw[i:i+len(domain.Hash{})])]; claim != "" {
			tr.leave(toCheckpoint, claim)
		}
	}
}

func (tr *trace) leave(to, claim string) {
	if tr.left[to] == nil {
		tr.left[to] = map[string]bool{}
	}
	tr.left[to][claim] = true
	switch w := tr.claims[claim]; {
	case w == nil:
		tr.violations = append(tr.violations, fmt.Sprintf("%s went to %s before it was in the log", claim, to))
	case w.synced == 0:
		tr.violations = append(tr.violations, fmt.Sprintf("%s went to %s before the log was synced", claim, to))
	}
}

// unescape is what was written, of what strace shows of it.
func unescape(text string) []byte {
	raw := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			raw = append(raw, text[i])
			continue
		}
		i++
		if letter := strings.IndexByte("ntrvf", text[i]); letter >= 0 {
			raw = append(raw, "\n\t\r\v\f"[letter])
			continue
		}
		digits, octal := 0, byte(0)
		for ; digits < 3 && i+digits < len(text) && '0' <= text[i+digits] && text[i+digits] <= '7'; digits++ {
			octal = octal<<3 | (text[i+digits] - '0')
		}
		if digits == 0 {
			raw = append(raw, text[i])
			continue
		}
		raw, i = append(raw, octal), i+digits-1
	}
	return raw
}

// together is how many of the claims the same sync made durable, at most.
func (tr *trace) together(claims []string) (most int) {
	of := map[int]int{}
	for _, claim := range claims {
		if w := tr.claims[claim]; w != nil && w.synced > 0 {
			of[w.synced]++
			most = max(most, of[w.synced])
		}
	}
	return most
}

// A trace is judged by the order of what is in it, and not by what its calls look like.
func TestTraceIsJudged(t *testing.T) {
	const (
		a, b   = "claim_01aaaaaaaaaaaaaaaaaaaaaaaa", "claim_01bbbbbbbbbbbbbbbbbbbbbbbb"
		block  = "9</d/nats/jetstream/$G/streams/LEDGER/msgs/1.blk>"
		client = "12<TCP:[127.0.0.1:8787->127.0.0.1:5000]>"
		hook   = "13<TCP:[127.0.0.1:5001->127.0.0.1:9000]>"
		pg     = `14<UNIX-STREAM:[77->78,"/d/.s.PGSQL.5432"]>`
	)
	writes := "7 pwrite64(" + block + `, "` + a + `", 31, 0) = 31`
	writesTwo := "7 pwrite64(" + block + `, "` + a + b + `", 62, 0) = 62`
	syncs := "7 fsync(" + block + ") = 0"
	answers, tells, keeps := "8 write("+client+`, "`+a+`", 31) = 31`, "8 write("+hook+`, "`+a+`", 31) = 31`, "8 write("+pg+`, "`+a+`", 31) = 31`
	var hash domain.Hash
	for i := range hash {
		hash[i] = "\xaax"[i%2]
	}
	hashes := map[domain.Hash]string{hash: a}
	tests := []struct {
		name     string
		lines    []string
		violated string
	}{
		{"in order", []string{writes, syncs, answers, tells, keeps}, ""},
		{"a batch", []string{writesTwo, syncs, answers, "8 write(" + client + `, "` + b + `", 31) = 31`}, ""},
		{"calls that cross", []string{
			writes, "7 fsync(" + block + " <unfinished ...>", "8 write(20</d/other>, \"x\", 1) = 1", "7 <... fsync resumed>) = 0", answers,
		}, ""},
		{"no sync", []string{writes, answers}, "to clients before the log was synced"},
		{"answered during the sync", []string{writes, "7 fsync(" + block + " <unfinished ...>", answers, "7 <... fsync resumed>) = 0"}, "to clients before the log was synced"},
		{"told during the sync", []string{writes, "7 fsync(" + block + " <unfinished ...>", tells, "7 <... fsync resumed>) = 0"}, "to a receiver before the log was synced"},
		{"projected before the sync", []string{writes, keeps, syncs}, "to PostgreSQL before the log was synced"},
		{"a checkpoint before the sync", []string{writes, `8 write(` + pg + `, "\1` + strings.Repeat(`\252x`, 16) + `\0", 34) = 34`, syncs},
			"to PostgreSQL as a hash before the log was synced"},
		{"the sync came before the write", []string{syncs, writes, answers}, "before the log was synced"},
		{"the sync began before the write ended", []string{
			"7 pwrite64(" + block + `, "` + a + `", 31, 0 <unfinished ...>`, syncs, "7 <... pwrite64 resumed>) = 31", answers,
		}, "before the log was synced"},
		{"another file was synced", []string{writes, "7 fsync(9</d/nats/jetstream/$G/streams/LEDGER_HEADS/msgs/1.blk>) = 0", answers}, "before the log was synced"},
		{"the sync failed", []string{writes, "7 fsync(" + block + ") = -1 EIO (Input/output error)", answers}, "a sync of the log failed"},
		{"never written", []string{answers}, "before it was in the log"},
		{"the first of a batch alone is synced", []string{writes, syncs, "7 pwrite64(" + block + `, "` + b + `", 31, 31) = 31`,
			answers, "8 write(" + client + `, "` + b + `", 31) = 31`}, b + " went to clients before the log was synced"},
	}
	for _, test := range tests {
		tr := readTrace(strings.Join(test.lines, "\n"), "127.0.0.1:8787", "127.0.0.1:9000", hashes, nil)
		switch found := strings.Join(tr.violations, "; "); {
		case test.violated == "" && found != "":
			t.Errorf("%s: %s", test.name, found)
		case !strings.Contains(found, test.violated):
			t.Errorf("%s: found %q, not %q", test.name, found, test.violated)
		}
	}
}
