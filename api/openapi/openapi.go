// Package openapi is the description of the API: an OpenAPI 3.1 document, written by
// hand in spec/, and a page to read it. It describes what package api does and never
// does any of it; the tests hold the two to each other, and package openapitest holds
// every request and answer of other tests to the document.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/claimledger/claimledger/api"
)

//go:embed spec
var spec embed.FS

var document = sync.OnceValues(func() (object, error) { return assemble(spec) })

// Document is the description in JSON, for a ledger that clients reach at publicURL.
func Document(publicURL string) ([]byte, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	server, err := json.Marshal([]map[string]string{{
		"url": publicURL, "description": "The public URL, which is part of every signature.",
	}})
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, doc.with("servers", server).encode(), "", "  "); err != nil {
		return nil, fmt.Errorf("the API's description: %w", err)
	}
	return indented.Bytes(), nil
}

// Routes adds the document and its page to a router.
func Routes(r *api.Router, publicURL string) error {
	doc, err := Document(publicURL)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(doc)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	r.Handle(http.MethodGet, "/openapi.json", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", etag)
		if known := req.Header.Get("If-None-Match"); known == "*" || strings.Contains(known, etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(doc) // the client is gone: nobody to tell
	}))
	return pageRoutes(r)
}
