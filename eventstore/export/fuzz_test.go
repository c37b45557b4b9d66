package export_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/eventstore/export"
)

// Whatever a file holds, reading it ends, with a reason where it is refused; and what is
// not an export as it was written is refused.
func FuzzVerify(f *testing.F) {
	good := map[string]bool{}
	for _, file := range smallFiles(f) {
		good[string(file)] = true
		f.Add(file)
		for _, line := range linesOf(file) {
			f.Add([]byte(line))
		}
		f.Add(bytes.ReplaceAll(file, []byte("acme"), []byte("shop")))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := verify(file, audit.Trust{})
		var finding *audit.Finding
		var unusable *export.UnusableError
		switch {
		case good[string(file)] && err != nil:
			t.Fatalf("a good one: %v", err)
		case !good[string(file)] && !errors.As(err, &finding) && !errors.As(err, &unusable):
			t.Fatalf("%v", err)
		}
	})
}
