package api_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

const (
	passkeysPath = "/v1/auth/passkeys"
	signInPath   = "/v1/auth/login/passkey"
	signUpPath   = "/v1/auth/signup"
)

// atPasskeyURL is for a node whose public URL has passkeys.
func atPasskeyURL(s *settings) { s.publicURL = passkeyURL }

// addPasskey gives the owner the authenticator's passkey.
func (o *owner) addPasskey(a *authenticator) *reply {
	o.t.Helper()
	return o.ask("POST", passkeysPath, a.create(o.ask("POST", passkeysPath+"/options", nil).want(200))).want(201)
}

// signIn signs in with a passkey.
func (n *node) signIn(a *authenticator, options ...option) *reply {
	a.t.Helper()
	return n.send(a.t, "POST", signInPath, a.get(n.send(a.t, "POST", signInPath+"/options", nil).want(200)), options...)
}

// An owner adds passkeys of several kinds and signs in with them, on any node, without
// saying who he is.
func TestPasskeys(t *testing.T) {
	l := newLedger(t)
	n := l.start(atPasskeyURL)
	o := n.owner(t, "acme")
	n.owner(t, "globex")
	if r := o.ask("GET", passkeysPath, nil).want(200); fmt.Sprint(r.at("passkeys")) != "[]" {
		t.Errorf("there are %s", r.body)
	}
	for name, a := range map[string]*authenticator{"P-256": newAuthenticator(t), "Ed25519": newEd25519Authenticator(t)} {
		options := o.ask("POST", passkeysPath+"/options", nil).want(200)
		if options.text("options.rp.id") != passkeyRP || options.text("options.attestation") != "none" || options.text("options.user.name") != "acme" ||
			options.text("options.authenticatorSelection.userVerification") != "required" || options.text("options.authenticatorSelection.residentKey") != "required" {
			t.Errorf("the options are %s", options.body)
		}
		body := a.create(options)
		body["name"] = name
		before := l.last()
		r := o.ask("POST", passkeysPath, body).want(201)
		if r.text("name") != name || r.at("last_used_at") != nil || fmt.Sprint(r.at("transports")) != "[internal hybrid]" || r.position() != before+1 {
			t.Errorf("%s: %s at %d", name, r.body, r.position())
		}

		m := l.start(atPasskeyURL) // one that has not seen the passkey before
		a.count++
		signed := m.signIn(a).want(200)
		if signed.text("namespace") != "acme" || signed.text("expires_at") == "" {
			t.Errorf("%s: %s", name, signed.body)
		}
		c := (&http.Response{Header: signed.header}).Cookies()
		if len(c) != 1 || c[0].Name != "sigilum_token" || !c[0].HttpOnly || !c[0].Secure || c[0].SameSite != http.SameSiteLaxMode || c[0].Value != signed.text("session_token") {
			t.Errorf("%s: the cookie is %v", name, signed.header["Set-Cookie"])
		}
		me := n.send(t, "GET", "/v1/auth/me", nil, cookie(signed.text("session_token"))).want(200)
		if me.text("namespace") != "acme" || me.text("kind") != "owner" || me.text("id") != l.at(before+1).Actor.ID {
			t.Errorf("%s: %s", name, me.body)
		}
		commit := l.at(signed.position())
		if commit.Actor != (domain.Actor{Kind: domain.ActorOwner, ID: me.text("id")}) || commit.Events[0].Payload.(domain.OwnerSignedIn).SignCount != 1 {
			t.Errorf("%s: it was recorded as %+v", name, commit)
		}
	}
	list := o.ask("GET", passkeysPath, nil).want(200)
	if passkeys, _ := list.at("passkeys").([]any); len(passkeys) != 2 || list.text("passkeys.0.last_used_at") == "" {
		t.Errorf("there are %s", list.body)
	}
	// The browser is told what not to make another one on.
	if r := o.ask("POST", passkeysPath+"/options", nil).want(200); len(r.at("options.excludeCredentials").([]any)) != 2 {
		t.Errorf("the options are %s", r.body)
	}
	history := o.ask("GET", "/v1/namespaces/acme/events?type=passkey.added", nil).want(200)
	if events, _ := history.at("events").([]any); len(events) != 2 {
		t.Errorf("the history has %s", history.body)
	}
}

// Whatever is wrong with what a passkey signed, nobody is signed in, nothing is
// recorded, and the answer is the same.
func TestSignInsThatAreRefused(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(atPasskeyURL), l.start(atPasskeyURL)
	o, other := n.owner(t, "acme"), n.owner(t, "globex")
	a, b, unknown := newAuthenticator(t), newAuthenticator(t), newAuthenticator(t)
	a.flags |= backupable | backedUp
	o.addPasskey(a)
	other.addPasskey(b)
	ask := func() *reply { return n.send(t, "POST", signInPath+"/options", nil).want(200) }
	unknown.owner = a.owner
	response := func(body map[string]any) map[string]any {
		return body["credential"].(map[string]any)["response"].(map[string]any)
	}
	flip := func(field string) func(*ceremony) {
		return func(c *ceremony) {
			c.garble = func(body map[string]any) {
				raw, _ := base64.RawURLEncoding.DecodeString(response(body)[field].(string))
				raw[len(raw)-1] ^= 1
				response(body)[field] = base64url(raw)
			}
		}
	}
	with := func(field string, value any) func(*ceremony) {
		return func(c *ceremony) { c.garble = func(body map[string]any) { body[field] = value } }
	}
	message := ""
	for name, body := range map[string]func() map[string]any{
		"another origin": func() map[string]any { return a.get(ask(), func(c *ceremony) { c.origin = "https://evil.example" }) },
		"another port":   func() map[string]any { return a.get(ask(), func(c *ceremony) { c.origin += ":444" }) },
		"a part of the site": func() map[string]any {
			return a.get(ask(), func(c *ceremony) { c.origin = "https://x.ledger.example" })
		},
		"no https":                func() map[string]any { return a.get(ask(), func(c *ceremony) { c.origin = "http://ledger.example" }) },
		"a frame elsewhere":       func() map[string]any { return a.get(ask(), func(c *ceremony) { c.crossOrigin = true }) },
		"another relying party":   func() map[string]any { return a.get(ask(), func(c *ceremony) { c.rpID = "evil.example" }) },
		"nobody verified":         func() map[string]any { return a.get(ask(), func(c *ceremony) { c.flags &^= userVerified }) },
		"nobody present":          func() map[string]any { return a.get(ask(), func(c *ceremony) { c.flags &^= userPresent }) },
		"not to be backed up now": func() map[string]any { return a.get(ask(), func(c *ceremony) { c.flags &^= backupable | backedUp }) },
		"another ceremony":        func() map[string]any { return a.get(ask(), func(c *ceremony) { c.kind = "webauthn.create" }) },
		"another challenge": func() map[string]any {
			return a.get(ask(), func(c *ceremony) { c.challenge = base64url(make([]byte, 32)) })
		},
		"a changed signature": func() map[string]any { return a.get(ask(), flip("signature")) },
		"changed data":        func() map[string]any { return a.get(ask(), flip("authenticatorData")) },
		"another's user handle": func() map[string]any {
			return a.get(ask(), func(c *ceremony) { c.garble = func(body map[string]any) { response(body)["userHandle"] = b.owner } })
		},
		"nobody's user handle": func() map[string]any {
			return a.get(ask(), func(c *ceremony) {
				c.garble = func(body map[string]any) { response(body)["userHandle"] = base64url([]byte("owner_x")) }
			})
		},
		"no user handle": func() map[string]any {
			return a.get(ask(), func(c *ceremony) { c.garble = func(body map[string]any) { delete(response(body), "userHandle") } })
		},
		"an unknown passkey": func() map[string]any { return unknown.get(ask()) },
		"no token of ours":   func() map[string]any { return a.get(ask(), with("token", "x")) },
		"a token for another use": func() map[string]any {
			return a.get(ask(), with("token", o.ask("POST", passkeysPath+"/options", nil).want(200).text("token")))
		},
		"a session for a token":     func() map[string]any { return a.get(ask(), with("token", o.session)) },
		"another challenge's token": func() map[string]any { return a.get(ask(), with("token", ask().text("token"))) },
	} {
		t.Run(name, func(t *testing.T) {
			r := n.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, body())
			if message == "" {
				message = r.text("error")
			}
			if r.text("error") != message || r.header.Get("Set-Cookie") != "" {
				t.Errorf("it answers %s, another one %q", r.body, message)
			}
		})
	}
	// Another site's page.
	n.refuse(t, 403, domain.CodeForbidden, "POST", signInPath, a.get(ask()), set("Sec-Fetch-Site", "cross-site"))
	n.refuse(t, 403, domain.CodeForbidden, "POST", signInPath, a.get(ask()), set("Origin", "https://evil.example"))
	n.send(t, "POST", signInPath, a.get(ask()), set("Origin", passkeyURL)).want(200)

	// A challenge works once, on whichever node.
	once := a.get(ask())
	n.send(t, "POST", signInPath, once).want(200)
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, once)
	m.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, once)
	l.start(atPasskeyURL).refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, once) // as after a restart

	// The counter must grow, once there is one.
	for _, count := range []uint32{7, 8} {
		a.count = count
		n.signIn(a).want(200)
	}
	for _, count := range []uint32{8, 7, 0} {
		a.count = count
		options := ask()
		n.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, a.get(options))
	}
	a.count = 9
	late := a.get(ask())
	l.clock.advance(5 * time.Minute)
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, late)
	n.signIn(a).want(200)
}

// What is no credential at all is the request's fault, and nobody's defect.
func TestCredentialsThatAreMalformed(t *testing.T) {
	l := newLedger(t)
	n := l.start(atPasskeyURL, func(s *settings) { s.signUp = true })
	o := n.owner(t, "acme")
	a := newAuthenticator(t)
	o.addPasskey(a)
	response := func(body map[string]any) map[string]any {
		return body["credential"].(map[string]any)["response"].(map[string]any)
	}
	raw := func(text string) []byte { b, _ := base64.RawURLEncoding.DecodeString(text); return b }
	type ruin func(map[string]any)
	in := func(field string, change func([]byte) any) ruin {
		return func(body map[string]any) { response(body)[field] = change(raw(response(body)[field].(string))) }
	}
	cut := func(n int) func([]byte) any { return func(b []byte) any { return base64url(b[:max(0, len(b)-n)]) } }
	constant := func(v any) func([]byte) any { return func([]byte) any { return v } }
	common := map[string]ruin{
		"no credential":       func(b map[string]any) { delete(b, "credential") },
		"null":                func(b map[string]any) { b["credential"] = nil },
		"a text":              func(b map[string]any) { b["credential"] = "x" },
		"a list":              func(b map[string]any) { b["credential"] = []int{1} },
		"nothing in it":       func(b map[string]any) { b["credential"] = map[string]any{} },
		"no id":               func(b map[string]any) { delete(b["credential"].(map[string]any), "id") },
		"an id in no base64":  func(b map[string]any) { b["credential"].(map[string]any)["id"] = "%%%" },
		"no type":             func(b map[string]any) { delete(b["credential"].(map[string]any), "type") },
		"another type":        func(b map[string]any) { b["credential"].(map[string]any)["type"] = "password" },
		"no response":         func(b map[string]any) { delete(b["credential"].(map[string]any), "response") },
		"no client data":      func(b map[string]any) { delete(response(b), "clientDataJSON") },
		"client data no JSON": in("clientDataJSON", constant(base64url([]byte("{")))),
		"client data a list":  in("clientDataJSON", constant(base64url([]byte("[]")))),
	}
	test := func(path string, want string, body func() map[string]any, ruins map[string]ruin, options ...option) {
		for name, ruin := range ruins {
			t.Run(path+" "+name, func(t *testing.T) {
				b := body()
				ruin(b)
				if r := n.refuse(t, 400, domain.CodeInvalidRequest, "POST", path, b, options...); r.fields() != want {
					t.Errorf("the details are about %q: %s", r.fields(), r.body)
				}
			})
		}
	}
	asserted := map[string]ruin{
		"no data":          func(b map[string]any) { delete(response(b), "authenticatorData") },
		"short data":       in("authenticatorData", func(b []byte) any { return base64url(b[:20]) }),
		"data of one byte": in("authenticatorData", constant("AA")),
		"more than data":   in("authenticatorData", func(b []byte) any { return base64url(append(b, 0xff)) }),
		"attested and cut": in("authenticatorData", func(b []byte) any { b[32] |= attested; return base64url(b) }),
		"extensions bad":   in("authenticatorData", func(b []byte) any { b[32] |= 0x80; return base64url(append(b, 0xbf)) }),
	}
	made := map[string]ruin{
		"no object":        func(b map[string]any) { delete(response(b), "attestationObject") },
		"an empty object":  in("attestationObject", constant(base64url([]byte{0xa0}))),
		"an endless map":   in("attestationObject", constant(base64url([]byte{0xbf}))),
		"a huge map":       in("attestationObject", constant(base64url([]byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))),
		"a huge text":      in("attestationObject", constant(base64url([]byte{0xa1, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))),
		"nested deeply":    in("attestationObject", constant(base64url([]byte(strings.Repeat("\x81", 10_000))))),
		"an object cut":    in("attestationObject", cut(1)),
		"cut in half":      in("attestationObject", func(b []byte) any { return base64url(b[:len(b)/2]) }),
		"more than that":   in("attestationObject", func(b []byte) any { return base64url(append(b, 0)) }),
		"transports wrong": func(b map[string]any) { response(b)["transports"] = "internal" },
	}
	merged := func(more map[string]ruin) map[string]ruin {
		all := map[string]ruin{}
		for _, m := range []map[string]ruin{common, more} {
			for name, r := range m {
				all[name] = r
			}
		}
		return all
	}
	test(signInPath, "credential", func() map[string]any { return a.get(n.send(t, "POST", signInPath+"/options", nil)) }, merged(asserted))
	test(passkeysPath, "credential", func() map[string]any { return newAuthenticator(t).create(o.ask("POST", passkeysPath+"/options", nil)) }, merged(made), bearer(o.session))
	test(signUpPath, "credential", func() map[string]any {
		return newAuthenticator(t).create(n.send(t, "POST", signUpPath+"/options", map[string]any{"namespace": "initech"}))
	}, merged(made))
	for _, path := range []string{signInPath, signUpPath} {
		n.refuse(t, 400, domain.CodeInvalidJSON, "POST", path, "{")
		if r := n.refuse(t, 400, domain.CodeInvalidRequest, "POST", path, "{}"); r.fields() != "token credential" {
			t.Errorf("%s: %s", path, r.body)
		}
		n.refuse(t, 413, domain.CodeBodyTooLarge, "POST", path, `{"token":"`+strings.Repeat("x", 64<<10)+`"}`)
	}
}

// A passkey that was not made here, now, by this owner and in his own presence is not
// taken.
func TestPasskeysThatAreRefused(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(atPasskeyURL), l.start(atPasskeyURL)
	o, other := n.owner(t, "acme"), n.owner(t, "globex")
	ask := func() *reply { return o.ask("POST", passkeysPath+"/options", nil).want(200) }
	a := newAuthenticator(t)
	for name, lie := range map[string]func(*ceremony){
		"another origin":         func(c *ceremony) { c.origin = "https://evil.example" },
		"a frame elsewhere":      func(c *ceremony) { c.crossOrigin = true },
		"another relying party":  func(c *ceremony) { c.rpID = "evil.example" },
		"nobody verified":        func(c *ceremony) { c.flags &^= userVerified },
		"nobody present":         func(c *ceremony) { c.flags &^= userPresent },
		"backed up and not able": func(c *ceremony) { c.flags |= backedUp },
		"another ceremony":       func(c *ceremony) { c.kind = "webauthn.get" },
		"another challenge":      func(c *ceremony) { c.challenge = base64url(make([]byte, 32)) },
		"a false attestation": func(c *ceremony) {
			c.attestation = map[string]any{"fmt": "packed", "attStmt": map[string]any{"alg": -7, "sig": make([]byte, 70)}}
		},
		"an unknown attestation": func(c *ceremony) { c.attestation = map[string]any{"fmt": "wax", "attStmt": map[string]any{}} },
		"another id": func(c *ceremony) {
			c.garble = func(b map[string]any) {
				b["credential"].(map[string]any)["rawId"] = "AAAA"
				b["credential"].(map[string]any)["id"] = "AAAA"
			}
		},
		"many transports":  func(c *ceremony) { c.transports = slices.Repeat([]string{"usb"}, 11) },
		"a long transport": func(c *ceremony) { c.transports = []string{strings.Repeat("u", 33)} },
	} {
		t.Run(name, func(t *testing.T) {
			if r := o.refused(400, domain.CodeInvalidRequest, "POST", passkeysPath, a.create(ask(), lie)); r.fields() != "credential" {
				t.Errorf("%s", r.body)
			}
		})
	}
	t.Run("a key of an algorithm that was not asked for", func(t *testing.T) {
		b := newAuthenticator(t)
		b.cose = encodeCBOR(t, map[int]any{1: 2, 3: -47, -1: 8, -2: make([]byte, 32), -3: make([]byte, 32)})
		if r := o.refused(400, domain.CodeInvalidRequest, "POST", passkeysPath, b.create(ask())); r.fields() != "credential" {
			t.Errorf("%s", r.body)
		}
	})
	for name, token := range map[string]string{
		"no token of ours": "x", "a session": o.session, "for signing in": n.send(t, "POST", signInPath+"/options", nil).text("token"),
	} {
		t.Run(name, func(t *testing.T) {
			body := a.create(ask())
			body["token"] = token
			if r := o.refused(400, domain.CodeInvalidRequest, "POST", passkeysPath, body); r.fields() != "token" {
				t.Errorf("%s", r.body)
			}
		})
	}
	named := func(name any) map[string]any { b := a.create(ask()); b["name"] = name; return b }
	for _, name := range []any{strings.Repeat("n", 129), "", 1, "a\nb"} {
		if r := o.refused(400, domain.CodeInvalidRequest, "POST", passkeysPath, named(name)); r.fields() != "name" {
			t.Errorf("%s", r.body)
		}
	}

	body := a.create(ask())
	other.refused(403, domain.CodeForbidden, "POST", passkeysPath, body) // options for another owner
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", passkeysPath, body)
	n.refuse(t, 403, domain.CodeForbidden, "POST", passkeysPath, body, cookie(o.session), set("Sec-Fetch-Site", "cross-site"))
	id := o.on(m).ask("POST", passkeysPath, body).want(201).text("id")
	o.refused(409, domain.CodeConflict, "POST", passkeysPath, body)            // the challenge was answered
	o.refused(409, domain.CodeConflict, "POST", passkeysPath, a.create(ask())) // the passkey is there
	late := newAuthenticator(t).create(ask())
	l.clock.advance(5 * time.Minute)
	o.refused(400, domain.CodeInvalidRequest, "POST", passkeysPath, late)

	// To another owner it does not exist.
	other.refused(404, domain.CodeNotFound, "DELETE", passkeysPath+"/"+id, nil)
	o.ask("DELETE", passkeysPath+"/"+id, nil).want(200)
	o.refused(404, domain.CodeNotFound, "DELETE", passkeysPath+"/"+id, nil)
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, a.get(n.send(t, "POST", signInPath+"/options", nil)))
	o.refused(409, domain.CodeConflict, "POST", passkeysPath, body, func(*testing.T, *sending) { l.clock.advance(-5 * time.Minute) }) // nor does the old answer bring it back
}

// A management key acts for the namespace, and not as the person.
func TestPasskeysTakeASession(t *testing.T) {
	l := newLedger(t)
	n := l.start(atPasskeyURL)
	o := n.owner(t, "acme")
	a := newAuthenticator(t)
	id := o.addPasskey(a).text("id")
	show, _ := o.key("read", "update-data", "delete-data", "update-model", "delete-model")
	body := newAuthenticator(t).create(o.ask("POST", passkeysPath+"/options", nil))
	for _, request := range []struct {
		method, path string
		body         any
	}{
		{"GET", passkeysPath, nil}, {"POST", passkeysPath + "/options", nil}, {"POST", passkeysPath, body}, {"DELETE", passkeysPath + "/" + id, nil},
	} {
		n.refuse(t, 403, domain.CodeForbidden, request.method, request.path, request.body, show)
		n.refuse(t, 401, domain.CodeUnauthorized, request.method, request.path, request.body)
	}
	// The token of options is no session, though the same key signs both.
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, bearer(body["token"].(string)))
}

// A removed owner is out at once, with his passkeys; the others stay.
func TestRemovedOwner(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(atPasskeyURL), l.start(atPasskeyURL)
	o := n.owner(t, "acme")
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.AddOwner{OwnerID: "owner_" + newID(), Token: recorded})
	second := &owner{node: n, t: t, namespace: "acme"}
	second.session = n.send(t, "POST", "/v1/auth/login", map[string]any{"token": token}).want(200).text("session_token")
	a, b := newAuthenticator(t), newAuthenticator(t)
	o.addPasskey(a)
	id := second.addPasskey(b).text("id")
	if r := o.ask("GET", passkeysPath, nil).want(200); len(r.at("passkeys").([]any)) != 1 {
		t.Errorf("an owner sees %s", r.body)
	}
	o.refused(404, domain.CodeNotFound, "DELETE", passkeysPath+"/"+id, nil)

	first := o.ask("GET", "/v1/auth/me", nil).text("id")
	n.operator("acme", domain.RemoveOwner{OwnerID: first})
	o.refused(401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil)
	for _, at := range []*node{n, m} {
		at.refuse(t, 401, domain.CodeUnauthorized, "POST", signInPath, a.get(at.send(t, "POST", signInPath+"/options", nil)))
		at.signIn(b).want(200)
	}
	second.ask("GET", "/v1/auth/me", nil).want(200)
}

// Anybody begins a namespace with a passkey, where the operator lets him.
func TestSignUp(t *testing.T) {
	l := newLedger(t)
	n := l.start(atPasskeyURL, func(s *settings) { s.signUp = true })
	a := newAuthenticator(t)
	options := func(name string) *reply {
		return n.send(t, "POST", signUpPath+"/options", map[string]any{"namespace": name}).want(200)
	}
	body := a.create(options("acme"))
	rival := newAuthenticator(t).create(options("acme")) // meanwhile
	body["email"], body["name"] = "o@example.com", "phone"
	before := l.last()
	n.refuse(t, 403, domain.CodeForbidden, "POST", signUpPath, body, set("Origin", "https://evil.example"))
	r := n.send(t, "POST", signUpPath, body).want(201)
	if r.text("namespace") != "acme" || r.position() != before+1 || !strings.HasPrefix(r.header.Get("Set-Cookie"), "sigilum_token=") {
		t.Errorf("%s at %d with %v", r.body, r.position(), r.header["Set-Cookie"])
	}
	commit := l.at(before + 1)
	ownerID := commit.Events[0].Payload.(domain.NamespaceRegistered).OwnerID
	if len(commit.Events) != 3 || commit.Actor.ID != ownerID {
		t.Errorf("it was recorded as %+v", commit)
	}
	if profile, found, err := l.profiles.Get(t.Context(), ownerID); err != nil || !found || profile.Email != "o@example.com" {
		t.Errorf("the address is %+v, %v, %v", profile, found, err)
	}
	o := &owner{node: n, t: t, namespace: "acme", session: r.text("session_token")}
	if r := o.ask("GET", passkeysPath, nil).want(200); r.text("passkeys.0.name") != "phone" {
		t.Errorf("%s", r.body)
	}
	o.service("weather") // he can do what owners can
	n.signIn(a).want(200)

	n.refuse(t, 409, domain.CodeConflict, "POST", signUpPath, body)
	n.refuse(t, 409, domain.CodeConflict, "POST", signUpPath, rival)
	n.refuse(t, 409, domain.CodeConflict, "POST", signUpPath+"/options", map[string]any{"namespace": "acme"})
	for _, bad := range []any{"Acme", "ab", "claims", "a_c", "acme.>", "", 1, nil} {
		if r := n.refuse(t, 400, domain.CodeInvalidRequest, "POST", signUpPath+"/options", map[string]any{"namespace": bad}); r.fields() != "namespace" {
			t.Errorf("%v: %s", bad, r.body)
		}
	}
	body = newAuthenticator(t).create(options("globex"))
	for _, bad := range []any{"x", "A <o@example.com>", "", 1} {
		body["email"] = bad
		if r := n.refuse(t, 400, domain.CodeInvalidRequest, "POST", signUpPath, body); r.fields() != "email" {
			t.Errorf("%v: %s", bad, r.body)
		}
	}
	delete(body, "email")
	body["token"] = o.ask("POST", passkeysPath+"/options", nil).text("token")
	if r := n.refuse(t, 400, domain.CodeInvalidRequest, "POST", signUpPath, body); r.fields() != "token" {
		t.Errorf("%s", r.body)
	}

	closed := l.start(atPasskeyURL)
	closed.refuse(t, 404, domain.CodeNotFound, "POST", signUpPath+"/options", map[string]any{"namespace": "initech"})
	closed.refuse(t, 404, domain.CodeNotFound, "POST", signUpPath, newAuthenticator(t).create(options("initech")))
}

// Where browsers would use no passkeys there are none, and all else goes on.
func TestNoPasskeysHere(t *testing.T) {
	l := newLedger(t)
	for _, url := range []string{"http://127.0.0.1:8787", "https://192.0.2.1", "http://ledger.example", "https://[2001:db8::1]"} {
		n := l.start(func(s *settings) { s.publicURL, s.signUp = url, true })
		o := n.owner(t, "acme-"+strings.ToLower(newID()))
		o.ask("GET", passkeysPath, nil).want(200)
		o.refused(404, domain.CodeNotFound, "POST", passkeysPath+"/options", nil)
		n.refuse(t, 404, domain.CodeNotFound, "POST", signInPath+"/options", nil)
		n.refuse(t, 404, domain.CodeNotFound, "POST", signUpPath+"/options", map[string]any{"namespace": "globex"})
		if page := n.send(t, "GET", "/v1/auth/login", nil).want(200); !strings.Contains(string(page.body), `data-passkeys="no"`) {
			t.Errorf("%s: the page offers passkeys", url)
		}
		n.stop()
	}
	for url, want := range map[string]string{"http://localhost:8787": "localhost", "https://Ledger.example:8443": "ledger.example", "http://a.localhost": "a.localhost"} {
		n := l.start(func(s *settings) { s.publicURL = url })
		if r := n.send(t, "POST", signInPath+"/options", nil).want(200); r.text("options.rpId") != want {
			t.Errorf("%s: %s", url, r.body)
		}
		n.stop()
	}
}

// Sessions that begin with a passkey end as all do.
func TestPasskeySessionsEnd(t *testing.T) {
	l := newLedger(t)
	n := l.start(atPasskeyURL)
	o := n.owner(t, "acme")
	a := newAuthenticator(t)
	o.addPasskey(a)
	o.session = n.signIn(a).want(200).text("session_token")
	o.ask("POST", "/v1/auth/logout", nil).want(200)
	o.refused(401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil)
	o.session = n.signIn(a).want(200).text("session_token")
	l.clock.advance(api.SessionLifetime)
	o.refused(401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil)
}
