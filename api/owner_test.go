package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/domain"
)

func TestLogin(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	login := map[string]any{"token": token}

	before := l.last()
	r := n.send(t, "POST", "/v1/auth/login", login).want(200)
	if r.text("namespace") != "acme" || r.text("session_token") == "" || r.text("expires_at") == "" || r.position() != before+1 {
		t.Errorf("login answers %s at %d", r.body, r.position())
	}
	c := (&http.Response{Header: r.header}).Cookies()
	if len(c) != 1 || c[0].Name != "sigilum_token" || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || c[0].Secure || c[0].Path != "/" || c[0].Value != r.text("session_token") {
		t.Errorf("the cookie is %v", r.header["Set-Cookie"])
	}
	session := r.text("session_token")
	for _, show := range []option{bearer(session), cookie(session)} {
		me := n.send(t, "GET", "/v1/auth/me", nil, show).want(200)
		if me.text("namespace") != "acme" || me.text("kind") != "owner" || me.text("expires_at") == "" {
			t.Errorf("me is %s", me.body)
		}
	}
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/auth/login", login) // it works once
	l.start().refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/auth/login", login)

	token, recorded = n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	l.clock.advance(15 * time.Minute)
	n.refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/auth/login", map[string]any{"token": token}) // and for 15 minutes

	for _, bad := range []string{
		"x", "login_acme_", "login_acme_WRONG", "login_nobody_WRONG", "login_ACME_WRONG", "login__x", "login_acme", token + "x",
		"login_acme.>_x", strings.Repeat("x", 4096),
	} {
		n.refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/auth/login", map[string]any{"token": bad})
	}
	n.refuse(t, 400, domain.CodeInvalidRequest, "POST", "/v1/auth/login", map[string]any{"token": strings.Repeat("x", 4097)})

	l.clock.advance(api.SessionLifetime)
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/services", nil, bearer(session))
	o.signInAgain()
	o.ask("GET", "/v1/services", nil).want(200)
}

// Opening the link uses nothing up and shows no secret.
func TestLoginPage(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	n.owner(t, "acme")
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	before := l.last()
	for _, method := range []string{"GET", "HEAD", "GET"} {
		r := n.send(t, method, "/v1/auth/login", nil).want(200)
		if strings.Contains(string(r.body), token) || r.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %v", method, r.header)
		}
	}
	if l.last() != before {
		t.Error("opening the page appended")
	}
	// A form of another site must not sign a browser in.
	n.refuse(t, 403, domain.CodeForbidden, "POST", "/v1/auth/login", map[string]any{"token": token}, set("Sec-Fetch-Site", "cross-site"))
	n.refuse(t, 403, domain.CodeForbidden, "POST", "/v1/auth/login", map[string]any{"token": token}, set("Origin", "https://evil.example"))
	n.send(t, "POST", "/v1/auth/login", map[string]any{"token": token}, set("Sec-Fetch-Site", "same-origin")).want(200)
}

func TestSecureCookieBehindTLS(t *testing.T) {
	l := newLedger(t)
	n := l.start(func(s *settings) { s.publicURL = "https://ledger.example" })
	n.owner(t, "acme")
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	r := n.send(t, "POST", "/v1/auth/login", map[string]any{"token": token}, set("Origin", "https://ledger.example")).want(200)
	if !strings.Contains(r.header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("the cookie is %s", r.header.Get("Set-Cookie"))
	}
}

func TestLogout(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	show, _ := o.key("read")
	ended := o.session
	r := o.ask("POST", "/v1/auth/logout", nil).want(200)
	if r.at("success") != true || !strings.Contains(r.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout answers %s with %v", r.body, r.header["Set-Cookie"])
	}
	for _, show := range []option{bearer(ended), cookie(ended)} {
		n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, show)
		n.refuse(t, 401, domain.CodeUnauthorized, "POST", "/v1/auth/logout", nil, show)
	}
	eventually(t, "the other node to know", func() bool { return m.send(t, "GET", "/v1/auth/me", nil, bearer(ended)).status == 401 })
	n.send(t, "GET", "/v1/auth/me", nil, show).want(200) // keys go on
	n.refuse(t, 403, domain.CodeForbidden, "POST", "/v1/auth/logout", nil, show)
	o.signInAgain()
	o.ask("GET", "/v1/auth/me", nil).want(200)
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, bearer(ended))
}

// Sessions that somebody made up, or changed.
func TestForgedSessions(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	n.owner(t, "globex")
	parts := strings.Split(o.session, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	forge := func(method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
		claims := jwt.MapClaims{}
		if err := json.Unmarshal(raw, &claims); err != nil {
			t.Fatal(err)
		}
		change(claims)
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	nothing := func(jwt.MapClaims) {}
	set := func(name string, value any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = value } }
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	hs := jwt.SigningMethodHS256
	n.send(t, "GET", "/v1/auth/me", nil, bearer(forge(hs, sessionKey, nothing))).want(200) // what is changed below is what matters
	for name, token := range map[string]string{
		"no algorithm":      forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nothing),
		"another algorithm": forge(jwt.SigningMethodHS512, sessionKey, nothing),
		"another key":       forge(hs, []byte(strings.Repeat("x", 32)), nothing),
		"another namespace": forge(hs, sessionKey, set("ns", "globex")),
		"no namespace":      forge(hs, sessionKey, without("ns")),
		"another owner":     forge(hs, sessionKey, set("sub", "owner_x")),
		"no owner":          forge(hs, sessionKey, without("sub")),
		"no id":             forge(hs, sessionKey, without("jti")),
		"another issuer":    forge(hs, sessionKey, set("iss", "https://evil.example")),
		"no end":            forge(hs, sessionKey, without("exp")),
		"past its end":      forge(hs, sessionKey, set("exp", l.clock.Now().Unix()-1)),
		"body changed":      parts[0] + "." + base64.RawURLEncoding.EncodeToString(append(raw, ' ')) + "." + parts[2],
		"no token":          "x",
		"a huge token":      strings.Repeat("x", 8000),
	} {
		t.Run(name, func(t *testing.T) {
			n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, bearer(token))
			n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, cookie(token))
		})
	}
}

// A browser sends its cookie whoever makes it call: only our own pages may write with it.
func TestCrossOriginWrites(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	show, _ := o.key("update-model", "read")
	tests := []struct {
		name    string
		headers []option
		refused bool
	}{
		{"no browser", nil, false},
		{"the same origin", []option{set("Sec-Fetch-Site", "same-origin")}, false},
		{"the person itself", []option{set("Sec-Fetch-Site", "none")}, false},
		{"another origin", []option{set("Sec-Fetch-Site", "cross-site")}, true},
		{"another part of the site", []option{set("Sec-Fetch-Site", "same-site")}, true},
		{"an old browser here", []option{set("Origin", n.public)}, false},
		{"an old browser elsewhere", []option{set("Origin", "https://evil.example")}, true},
		{"an old browser at another port", []option{set("Origin", "http://127.0.0.1:1")}, true},
		{"an old browser nowhere", []option{set("Origin", "null")}, true},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body := map[string]any{"slug": "s" + string(rune('a'+i)), "name": "s"}
			as := func(who option) []option { return append([]option{who}, test.headers...) }
			if test.refused {
				n.refuse(t, 403, domain.CodeForbidden, "POST", "/v1/services", body, as(cookie(o.session))...)
			} else {
				n.send(t, "POST", "/v1/services", body, as(cookie(o.session))...).want(201)
			}
			body["slug"] = "t" + body["slug"].(string)
			n.send(t, "POST", "/v1/services", body, as(bearer(o.session))...).want(201) // no browser adds these by itself
			body["slug"] = "t" + body["slug"].(string)
			n.send(t, "POST", "/v1/services", body, as(show)...).want(201)
			n.send(t, "GET", "/v1/services", nil, as(cookie(o.session))...).want(200)
		})
	}
}
