package api

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// Every code that package domain defines has a status, and no other has one.
func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../domain/error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defined := map[domain.Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			defined[domain.Code(code)] = true
		}
		return true
	})
	if len(defined) < 20 {
		t.Errorf("only %d codes were found", len(defined))
	}
	for code := range defined {
		if status := statuses[code]; http.StatusText(status) == "" || status < 400 {
			t.Errorf("%s has the status %d", code, status)
		}
	}
	for code := range statuses {
		if !defined[code] {
			t.Errorf("%s has a status and is not defined", code)
		}
	}
}

func TestWriteError(t *testing.T) {
	secret := errors.New("dial /tmp/x: SELECT 1: sk_live_secret")
	tests := []struct {
		err    error
		status int
		code   domain.Code
		header string
	}{
		{domain.Errorf(domain.CodeConflict, "No."), 409, domain.CodeConflict, ""},
		{fmt.Errorf("around: %w", domain.Errorf(domain.CodeNotFound, "No.")), 404, domain.CodeNotFound, ""},
		{domain.Errorf(domain.CodeRateLimited, "No."), 429, domain.CodeRateLimited, ""}, // who limits knows how long
		{&domain.Error{Code: domain.CodeServiceUnavailable, Message: "No.", Err: secret}, 503, domain.CodeServiceUnavailable, "Retry-After"},
		{domain.Errorf(domain.CodeStaleRead, "No."), 503, domain.CodeStaleRead, "Retry-After"},
		{domain.Errorf(domain.CodeUnauthorized, "No."), 401, domain.CodeUnauthorized, "WWW-Authenticate"},
		{secret, 500, domain.CodeInternal, ""},
		{&domain.Error{Code: domain.CodeInternal, Message: "No.", Err: secret}, 500, domain.CodeInternal, ""},
	}
	for _, test := range tests {
		w := httptest.NewRecorder()
		status := writeError(w, "id", test.err)
		body := w.Body.String()
		if status != test.status || w.Code != test.status || !strings.Contains(body, `"code":"`+string(test.code)+`"`) || !strings.Contains(body, `"request_id":"id"`) {
			t.Errorf("%v: %d %s", test.err, status, body)
		}
		if strings.Contains(body, "SELECT") || strings.Contains(body, "sk_live") || strings.Contains(body, "/tmp") {
			t.Errorf("%v shows its cause: %s", test.err, body)
		}
		for _, header := range []string{"Retry-After", "WWW-Authenticate"} {
			if (w.Header().Get(header) != "") != (test.header == header) {
				t.Errorf("%v: %s is %q", test.err, header, w.Header().Get(header))
			}
		}
	}
}

// A defect of ours is told to nobody but the log.
func TestPanic(t *testing.T) {
	w := httptest.NewRecorder()
	writeJSON(w, http.StatusOK, func() {})
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "INTERNAL") {
		t.Errorf("what cannot be encoded: %d %s", w.Code, w.Body)
	}
}
