package export_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/domain/audit"
	"github.com/claimledger/claimledger/domain/audit/audittest"
	"github.com/claimledger/claimledger/eventstore/export"
)

// What a commit costs to export from memory, and to verify.
func BenchmarkExport(b *testing.B) {
	made := audittest.New(b)
	made.Begin("acme")
	many := domain.MaxPolicyValue
	made.Registry("acme", audittest.Owner("acme"), domain.ChangePolicy{MaxPending: &many})
	for made.Last() < 5000 {
		id := fmt.Sprint(made.Last())
		made.Submit("acme", "acme", "claim_"+id, "ed25519:"+id)
	}
	l := ledgerOf(b, made, made.Last())
	file := l.export(export.Selection{})
	for name, do := range map[string]func() error{
		"export": func() error {
			_, _, err := export.From(b.Context(), l.log, l.heads, export.Selection{}, io.Discard, nil)
			return err
		},
		"verify": func() error {
			_, err := export.Verify(bytes.NewReader(file), audit.Trust{})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(made.Last()), "µs/commit")
		})
	}
}
