package attempt_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What a receiver repeats of the secrets that it was sent is not kept, however it writes
// them and wherever in its answer.
func TestEchoedSecrets(t *testing.T) {
	const kept = 4 << 10
	basic := base64.StdEncoding.EncodeToString([]byte("user:a long password"))
	for _, auth := range []string{"Bearer canary-0123456789", "canary-0123456789", "Basic " + basic, `canary "&quoted" <value>`} {
		secrets := []string{auth, newSecret, strings.TrimPrefix(newSecret, "whsec_"), oldSecret}
		if scheme, credential, ok := strings.Cut(auth, " "); ok && (scheme == "Bearer" || scheme == "Basic") {
			secrets = append(secrets, credential)
		}
		if strings.HasPrefix(auth, "Basic") {
			secrets = append(secrets, "a long password")
		}
		for _, secret := range secrets {
			quoted, err := json.Marshal(secret)
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{
				secret, string(quoted), url.QueryEscape(secret), fmt.Sprintf("%x", secret),
				base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
			} {
				for _, before := range []int{0, 100, kept - 10, kept - len(form), kept - len(form) + 1} {
					server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
						w.WriteHeader(http.StatusForbidden)
						fmt.Fprint(w, strings.Repeat(".", before), form, strings.Repeat(".", kept))
					})
					request := delivery(server.URL)
					request.AuthHeader, request.AuthValue = "Authorization", auth
					o := sender(nil).Send(t.Context(), request)
					core := strings.Trim(form, `"`)
					if len(o.Response) != kept || strings.Contains(string(o.Response), core[:8]) {
						t.Errorf("%q after %d: kept was %.200q", form, before, strings.Trim(string(o.Response), "."))
					}
				}
			}
		}
	}
}

// The shortest secret that is looked for, in the shortest answer that can hold it.
func TestShortEchoedSecret(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "canary") })
	request := delivery(server.URL)
	request.AuthHeader, request.AuthValue = "Authorization", "canary"
	if o := sender(nil).Send(t.Context(), request); string(o.Response) != "[redacted]" {
		t.Errorf("kept was %q", o.Response)
	}
}
