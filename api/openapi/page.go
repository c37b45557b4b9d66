package openapi

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the page
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/swaggest/swgui/v5/static"

	"github.com/claimledger/claimledger/api"
)

var (
	//go:embed page.html
	pageHTML []byte
	//go:embed page.js
	pageJS []byte
)

// pageCSP lets the page run what this server has and call this server, and nothing
// else. Swagger UI draws its icons from data: URLs; it sets its styles from the script,
// which needs no permission.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// packed are the parts of Swagger UI that the page needs, as the module carries them:
// compressed.
var packed = map[string]string{
	"swagger-ui-bundle.js": "text/javascript; charset=utf-8",
	"swagger-ui.css":       "text/css; charset=utf-8",
}

func pageRoutes(r *api.Router) error {
	r.Handle(http.MethodGet, "/docs", pagePart("text/html; charset=utf-8", pageHTML))
	r.Handle(http.MethodGet, "/docs/page.js", pagePart("text/javascript; charset=utf-8", pageJS))
	for name, mediaType := range packed {
		compressed, err := static.FS.ReadFile(name + ".gz")
		if err != nil {
			return fmt.Errorf("the page of the API's description: %w", err)
		}
		r.Handle(http.MethodGet, "/docs/"+name, packedPart(mediaType, compressed))
	}
	return nil
}

func pagePart(mediaType string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		pageHeaders(w, mediaType)
		_, _ = w.Write(content) // the client is gone: nobody to tell
	})
}

// packedPart sends what is compressed as it is to whoever takes that, as every browser
// does.
func packedPart(mediaType string, compressed []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pageHeaders(w, mediaType)
		w.Header().Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(compressed)
			return
		}
		plain, err := gzip.NewReader(bytes.NewReader(compressed))
		if err == nil {
			_, _ = io.Copy(w, plain)
		}
	})
}

func pageHeaders(w http.ResponseWriter, mediaType string) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Security-Policy", pageCSP)
}
