package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/claimledger/claimledger/domain"
)

// browser is a person with a real browser, and an authenticator in it that knows the
// person's finger.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// newBrowser starts a Chromium. One that is not there fails the test: what owners see
// must not go untested.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	// It is shown nothing but the page under test, and its sandbox is not to be had
	// everywhere: not as root, nor in most containers.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.DisableGPU, chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	alive, cancel := context.WithTimeout(context.Background(), 4*patience)
	t.Cleanup(cancel)
	allocator, cancel := chromedp.NewExecAllocator(alive, options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{t, ctx}
	err := chromedp.Listen(ctx, b.notice)
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
	}
	if err != nil {
		t.Fatalf("the browser (sh deploy/install-browser.sh installs one): %v", err)
	}
	return b
}

// notice fails the test for what goes wrong in a page, and agrees to whatever it asks.
func (b *browser) notice(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.t.Errorf("the page throws %+v", e.ExceptionDetails)
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Source == log.EntrySourceViolation {
			b.t.Errorf("the browser says %s", e.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		go func() { // a listener must not wait
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	}
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

func (b *browser) fail(what string, err error) {
	b.t.Helper()
	shown, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`)) // only to say more
	b.t.Fatalf("%s: %v\nthe page shows %q", what, err, shown)
}

// sees waits until the page shows what a script tells of it.
func (b *browser) sees(what, script string) {
	b.t.Helper()
	b.do("waiting to see "+what, chromedp.Poll[chromedp.Void](script))
}

func (b *browser) seesAccount(namespace string) {
	b.t.Helper()
	b.do("the account", chromedp.WaitVisible(chromedp.CSS("#account")))
	b.sees("the namespace", fmt.Sprintf(`document.getElementById("namespace").textContent === %q`, namespace))
}

// await gives what a page's promise becomes.
func await[T any](b *browser, what, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(what, err)
	}
	return v
}

// atLocalhost is for a node that a browser on this machine takes for safe.
func atLocalhost(s *settings) {
	_, port, _ := net.SplitHostPort(s.addr)
	s.publicURL = "http://localhost:" + port
}

// An owner's way, clicked in a real browser: in by a link, a passkey, out, and in again
// with the passkey alone.
func TestOwnersPageInABrowser(t *testing.T) {
	l := newLedger(t)
	n := l.start(atLocalhost, func(s *settings) { s.signUp = true })
	n.owner(t, "acme")
	token, recorded := n.loginToken("acme")
	n.operator("acme", domain.IssueLoginToken{Token: recorded})
	b, home := newBrowser(t), n.public+"/v1/auth/login"

	b.do("opening the link", chromedp.Navigate(home+"#"+token), chromedp.WaitVisible(chromedp.CSS("#use-link")))
	b.sees("whose link it is", `document.getElementById("link-namespace").textContent === "acme"`)
	b.do("signing in with the keyboard", chromedp.KeyEvent(kb.Enter))
	b.seesAccount("acme")
	b.sees("no token in the address", `location.hash === "" && !location.href.includes("#")`)

	b.do("adding a passkey", chromedp.SendKeys(chromedp.CSS("#add-name"), "laptop"), chromedp.Click(chromedp.CSS("#add button")))
	b.sees("the passkey", `document.querySelector("#passkeys li")?.textContent.includes("laptop") && document.querySelector("#passkeys li").textContent.includes("not used yet")`)
	b.do("adding it again", chromedp.Click(chromedp.CSS("#add button")))
	b.sees("that it is there", `document.getElementById("problem").textContent.includes("already")`)
	b.do("signing out", chromedp.Click(chromedp.CSS("#sign-out")), chromedp.WaitVisible(chromedp.CSS("#use-passkey")))
	b.do("looking again", chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS("#use-passkey"))) // the session has ended

	before := l.last()
	b.do("signing in with the passkey", chromedp.Click(chromedp.CSS("#use-passkey")))
	b.seesAccount("acme")
	if in, ok := l.at(before + 1).Events[0].Payload.(domain.OwnerSignedIn); !ok {
		t.Errorf("what was recorded is %T", l.at(before + 1).Events[0].Payload)
	} else if k := in.PasskeyID; k == "" {
		t.Error("no passkey was recorded")
	}
	b.sees("its use", `document.querySelector("#passkeys li").textContent.includes("last used")`)
	b.do("looking again", chromedp.Reload())
	b.seesAccount("acme")

	b.otherSites(n)
	b.do("coming back", chromedp.Navigate(home))
	b.seesAccount("acme")

	b.do("removing the passkey", chromedp.Click(chromedp.CSS("#passkeys li button")))
	b.sees("that it is gone", `document.querySelector("#passkeys li") === null`)
	b.do("signing out", chromedp.Click(chromedp.CSS("#sign-out")), chromedp.WaitVisible(chromedp.CSS("#use-passkey")))
	b.do("signing in with what was removed", chromedp.Click(chromedp.CSS("#use-passkey")))
	b.sees("that it is refused", `document.getElementById("problem").textContent.includes("was not accepted")`)

	b.do("signing up", chromedp.SendKeys(chromedp.CSS("#sign-up-namespace"), "globex"), chromedp.SendKeys(chromedp.CSS("#sign-up-email"), "o@example.com"), chromedp.Click(chromedp.CSS("#sign-up button")))
	b.seesAccount("globex")
}

// otherSites: a page elsewhere gets nothing done with the owner's session or passkey,
// not even one that the browser takes for the same site.
func (b *browser) otherSites(n *node) {
	b.t.Helper()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><main>Elsewhere</main>")) // to our own browser
	}))
	defer elsewhere.Close()
	// At another port of localhost the browser sends the cookie, and lets the page use
	// the passkey: it is for the ledger to refuse both.
	sameSite := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	before := n.last()
	for _, url := range []string{elsewhere.URL, sameSite} {
		b.do("going elsewhere", chromedp.Navigate(url))
		sent := await[string](b, "calling the ledger from elsewhere",
			fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include"}).then((r) => r.type)`, n.public+"/v1/auth/logout"))
		if sent != "opaque" {
			b.t.Errorf("%s: the request ended as %q", url, sent)
		}
	}
	options := n.send(b.t, "POST", signInPath+"/options", nil).want(200)
	credential := await[map[string]any](b, "using the passkey elsewhere", fmt.Sprintf(
		`navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(%s)}).then((c) => c.toJSON())`, mustJSON(b.t, options.at("options"))))
	n.refuse(b.t, 401, domain.CodeUnauthorized, "POST", signInPath, map[string]any{"token": options.text("token"), "credential": credential})

	// On another site the browser itself refuses.
	b.do("going to another site", chromedp.Navigate(elsewhere.URL))
	refused := await[string](b, "using the passkey on another site", fmt.Sprintf(
		`(async () => { try { await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(%s)}); return "" } catch (e) { return e.name } })()`,
		mustJSON(b.t, options.at("options"))))
	if refused == "" {
		b.t.Error("the browser used the passkey on another site")
	}
	if n.last() != before {
		b.t.Error("a page elsewhere got something done")
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
