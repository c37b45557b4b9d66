package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// The flags of authenticator data (Web Authentication, level 3, 6.1).
const (
	userPresent  = 0x01
	userVerified = 0x04
	backupable   = 0x08
	backedUp     = 0x10
	attested     = 0x40
)

// authenticator makes passkeys and signs with them, as a phone and a browser would
// together, and lies where a test wants it to.
type authenticator struct {
	t     *testing.T
	key   crypto.Signer
	cose  []byte // the public key, as a COSE_Key
	id    []byte
	owner string // base64url, as it came in the options
	count uint32
	ceremony
}

// ceremony is what an answer says of how it came about.
type ceremony struct {
	origin, rpID, kind, challenge string
	crossOrigin                   bool
	flags                         byte
	transports                    []string
	attestation                   map[string]any // instead of none
	garble                        func(answer map[string]any)
}

// passkeyURL is a public URL at which there are passkeys, and passkeyRP the relying
// party that follows from it.
const passkeyURL, passkeyRP = "https://ledger.example", "ledger.example"

func newAuthenticator(t *testing.T) *authenticator {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	point := public.Bytes() // 4, x, y
	return authenticatorOf(t, key, map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
}

func newEd25519Authenticator(t *testing.T) *authenticator {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return authenticatorOf(t, key, map[int]any{1: 1, 3: -8, -1: 6, -2: []byte(public)})
}

func authenticatorOf(t *testing.T, key crypto.Signer, cose map[int]any) *authenticator {
	t.Helper()
	a := &authenticator{t: t, key: key, cose: encodeCBOR(t, cose), id: []byte(rand.Text())}
	a.ceremony = ceremony{origin: passkeyURL, rpID: passkeyRP, flags: userPresent | userVerified, transports: []string{"internal", "hybrid"}}
	return a
}

func encodeCBOR(t *testing.T, v any) []byte {
	t.Helper()
	b, err := webauthncbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// create answers options with a new passkey; the changes are lies.
func (a *authenticator) create(options *reply, changes ...func(*ceremony)) map[string]any {
	a.t.Helper()
	a.owner = options.text("options.user.id")
	c := a.in("webauthn.create", options, changes)
	c.flags |= attested
	data := a.data(c)
	data = append(data, make([]byte, 16)...) // the make of authenticator: none of anybody's business
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(append(data, a.id...), a.cose...)
	attestation := c.attestation
	if attestation == nil {
		attestation = map[string]any{"fmt": "none", "attStmt": map[string]any{}}
	}
	attestation["authData"] = data
	return a.answer(options, c, map[string]any{
		"clientDataJSON": base64url(a.clientData(c)), "attestationObject": base64url(encodeCBOR(a.t, attestation)), "transports": c.transports,
	})
}

// get answers options with a signature of the passkey.
func (a *authenticator) get(options *reply, changes ...func(*ceremony)) map[string]any {
	a.t.Helper()
	c := a.in("webauthn.get", options, changes)
	data, client := a.data(c), a.clientData(c)
	hash := sha256.Sum256(client)
	signed := append(data[:len(data):len(data)], hash[:]...)
	hashed := crypto.Hash(0) // Ed25519 takes the message itself
	if _, ok := a.key.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(signed)
		signed, hashed = sum[:], crypto.SHA256
	}
	signature, err := a.key.Sign(rand.Reader, signed, hashed)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(options, c, map[string]any{
		"clientDataJSON": base64url(client), "authenticatorData": base64url(data), "signature": base64url(signature), "userHandle": a.owner,
	})
}

func (a *authenticator) in(kind string, options *reply, changes []func(*ceremony)) ceremony {
	c := a.ceremony
	c.kind, c.challenge = kind, options.text("options.challenge")
	for _, f := range changes {
		f(&c)
	}
	return c
}

func (a *authenticator) answer(options *reply, c ceremony, response map[string]any) map[string]any {
	credential := map[string]any{
		"id": base64url(a.id), "rawId": base64url(a.id), "type": "public-key", "response": response,
		"clientExtensionResults": map[string]any{}, "authenticatorAttachment": "platform",
	}
	body := map[string]any{"token": options.text("token"), "credential": credential}
	if c.garble != nil {
		c.garble(body)
	}
	return body
}

func (a *authenticator) data(c ceremony) []byte {
	rp := sha256.Sum256([]byte(c.rpID))
	return binary.BigEndian.AppendUint32(append(rp[:], c.flags), a.count)
}

func (a *authenticator) clientData(c ceremony) []byte {
	text, err := json.Marshal(map[string]any{"type": c.kind, "challenge": c.challenge, "origin": c.origin, "crossOrigin": c.crossOrigin})
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}
