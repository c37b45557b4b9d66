package httpsig

import (
	"net/url"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	for name, cacheSize := range map[string]int{"certificate cached": 16, "certificate verified": 0} {
		b.Run(name, func(b *testing.B) {
			v := newTestVerifier(b, cacheSize)
			d := newDraft()
			r, body := d.sign(), []byte(d.body)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(r, body, testNow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	signer := newTestSigner()
	d := newDraft()
	r, body := d.sign(), []byte(d.body)
	r.URL = mustParseURL(b, d.baseTarget)
	b.ReportAllocs()
	for b.Loop() {
		if err := signer.Sign(r, body); err != nil {
			b.Fatal(err)
		}
	}
}

func mustParseURL(b *testing.B, text string) *url.URL {
	b.Helper()
	u, err := url.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	return u
}
