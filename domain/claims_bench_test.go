package domain

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// busy gives the commits of a namespace that has much to do: each claim is submitted,
// approved and revoked, and all of it in a day, so that no nonce is forgotten.
type busy struct {
	*Claims
	random *rand.Rand
	keys   int // that come again and again; 0: each claim has its own
	step   time.Duration
	basis  *Basis
	n      int
}

func newBusy(keys int) *busy {
	return &busy{
		Claims: NewClaims("acme"), random: rand.New(rand.NewPCG(1, 2)), keys: keys, step: 250 * time.Millisecond,
		basis: &Basis{Limits: Limits{MaxPending: MaxPolicyValue, MaxAgents: MaxPolicyValue, MaxServices: MaxPolicyValue}},
	}
}

func (b *busy) text(bytes int) string {
	raw := make([]byte, bytes)
	for i := range raw {
		raw[i] = byte(b.random.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// submission is what the next claim comes from.
func (b *busy) submission() ClaimSubmitted {
	key := "ed25519:" + b.text(33)
	if b.keys > 0 {
		key = fmt.Sprintf("ed25519:%044d", b.n%b.keys)
	}
	return ClaimSubmitted{
		ClaimID: "claim_" + b.text(19), ServiceID: "6f1c3a52-2f0e-4f6c-9a52-1b7a0c9d2e11", Service: "openai", Signer: "acme",
		PublicKey: key, AgentIP: "203.0.113.7", Nonce: b.text(24), SignatureNonce: b.text(16),
	}
}

func (b *busy) commit(payloads ...Payload) *Commit {
	b.n++
	c := NewCommit("01J", ClaimsOf("acme"), start.Add(time.Duration(b.n)*b.step), Actor{}, CommandRef{}, b.basis, payloads)
	c.Version = b.Version() + 1
	return c
}

// live has a claim go through all that it can.
func (b *busy) live(t testing.TB) {
	p := b.submission()
	for _, p := range []Payload{p, ClaimApproved{ClaimID: p.ClaimID}, ClaimRevoked{ClaimID: p.ClaimID}} {
		if err := b.Apply(b.commit(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// held is how much memory is in use after what is not has been given back.
func held() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkClaims(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkClaims(b, n) })
	}
}

func benchmarkClaims(b *testing.B, claims int) {
	before := held()
	h := newBusy(0)
	for range claims {
		h.live(b)
	}
	perClaim := float64(held()-before) / float64(claims)
	raw, err := h.Snapshot().Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("submit", func(b *testing.B) {
		terms := Terms{Active: true, Policy: Policy{Limits: h.basis.Limits}}
		from := h.Claims
		for b.Loop() {
			p := h.submission()
			cmd := Submit{
				ClaimID: p.ClaimID, ServiceID: p.ServiceID, Service: p.Service, PublicKey: p.PublicKey, AgentIP: p.AgentIP,
				Nonce: p.Nonce, Signer: p.Signer, SignatureNonce: p.SignatureNonce,
			}
			d, err := h.Decide(cmd, CommandRef{Name: "claim.submit"}, terms, h.Time())
			if err == nil {
				err = h.Apply(h.commit(d.Payloads...))
			}
			if err != nil {
				b.Fatal(err)
			}
			if h.Len() >= claims+claims/10 { // so that it stays about as large as it is said to be
				b.StopTimer()
				if h.Claims, err = RestoreClaims("acme", raw); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		}
		h.Claims = from
		b.ReportMetric(perClaim, "heap-B/claim")
	})
	h.Claims, err = RestoreClaims("acme", raw)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("take", func(b *testing.B) {
		for b.Loop() {
			_ = h.Snapshot()
		}
	})
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			_, _ = h.Snapshot().Encode()
		}
		b.ReportMetric(float64(len(raw))/float64(claims), "bytes/claim")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := RestoreClaims("acme", raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("collect", func(b *testing.B) { // what the garbage collector has to look through
		for b.Loop() {
			runtime.GC()
		}
	})
	runtime.KeepAlive(h)
}
