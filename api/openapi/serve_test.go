package openapi_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/claimledger/claimledger/api"
	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/api/openapi/openapitest"
)

func serve(t *testing.T) (*http.Client, string) {
	t.Helper()
	router := api.NewRouter()
	if err := openapi.Routes(router, publicURL); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	return &http.Client{Transport: openapitest.Transport(t, server.Client().Transport)}, server.URL
}

func get(t *testing.T, client *http.Client, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w, string(body)
}

func TestDocumentIsServed(t *testing.T) {
	client, base := serve(t)
	w, body := get(t, client, base+"/openapi.json")
	want, err := openapi.Document(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	if w.StatusCode != http.StatusOK || body != string(want) {
		t.Fatalf("%d with %d bytes; the document has %d", w.StatusCode, len(body), len(want))
	}
	for known, status := range map[string]int{w.Header.Get("ETag"): http.StatusNotModified, "*": http.StatusNotModified, `"other"`: http.StatusOK} {
		if w, _ := get(t, client, base+"/openapi.json", "If-None-Match", known); w.StatusCode != status {
			t.Errorf("If-None-Match %s: %d, want %d", known, w.StatusCode, status)
		}
	}
	if w, _ := get(t, client, base+"/docs/"); w.StatusCode != http.StatusNotFound {
		t.Errorf("/docs/ is %d", w.StatusCode)
	}
}

var links = regexp.MustCompile(`(?:src|href)="([^"]*)"`)

// The page and all that it is made of come from here, packed or not.
func TestPageNeedsNothingElse(t *testing.T) {
	client, base := serve(t)
	w, page := get(t, client, base+"/docs")
	policy := w.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") || strings.Contains(policy, "script-src 'self' 'unsafe") {
		t.Errorf("the page's policy is %q", policy)
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, "://") {
		t.Errorf("the page has a script inside or links elsewhere:\n%s", page)
	}
	found := 0
	for _, link := range links.FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(link[1], "data:") {
			continue
		}
		found++
		w, packed := get(t, client, base+"/"+link[1], "Accept-Encoding", "gzip")
		if w.StatusCode != http.StatusOK || len(packed) == 0 {
			t.Fatalf("%s: %d, %d bytes", link[1], w.StatusCode, len(packed))
		}
		plain, text := get(t, client, base+"/"+link[1], "Accept-Encoding", "identity")
		if plain.Header.Get("Content-Encoding") != "" || len(text) < len(packed) {
			t.Errorf("%s: %d bytes plain and %d packed", link[1], len(text), len(packed))
		}
	}
	if found != 4 {
		t.Errorf("the page has %d links to here:\n%s", found, page)
	}
}

// The example in the introduction is what the program accepts.
func TestSignedExample(t *testing.T) {
	_, example, ok := strings.Cut(document(t).Info.Description, "```http\n")
	example, _, closed := strings.Cut(example, "\n```")
	if !ok || !closed {
		t.Fatal("the introduction has no example")
	}
	head, body, _ := strings.Cut(example, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := httpsig.NewVerifier(publicURL, 0)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := verifier.Verify(r, []byte(body), time.Date(2026, 3, 2, 10, 30, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if signed.Namespace != "acme" || signed.Subject != "ada@example.com" {
		t.Errorf("signed by %+v", signed)
	}
}
