package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson" // a JSON value a line, each as described
)

// general are headers that HTTP and browsers want of any answer, and that a
// description of an API says nothing about.
var general = []string{
	"Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
	"Access-Control-Max-Age", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Security-Policy", "Content-Type",
	"Date", "Referrer-Policy", "Transfer-Encoding", "Vary", "X-Accel-Buffering", "X-Content-Type-Options", "X-Frame-Options",
}

// Check holds one request and its answer to the document: the answer always, and the
// request when it succeeded. One that was refused may well have been meant to be.
func Check(r *http.Request, requestBody []byte, w *http.Response, body []byte) error {
	d, err := load()
	if err != nil {
		return err
	}
	path, _, _ := strings.Cut(r.URL.RequestURI(), "?")
	op, vars, known := d.find(r.Method, path)
	answer, err := d.answer(r.Method, op, known, w)
	if err != nil {
		return err
	}
	errs := []error{checkHeaders(answer, w.Header)}
	if r.Method != http.MethodHead {
		errs = append(errs, checkContent(answer, w.Header, body))
	}
	if op != nil && w.StatusCode < http.StatusBadRequest {
		errs = append(errs, op.checkParameters(r, vars), op.checkBody(requestBody), op.checkSecurity(r))
	}
	return errors.Join(errs...)
}

// answer finds what the document says about an answer.
func (d *document) answer(method string, op *operation, known bool, w *http.Response) (node, error) {
	status := w.StatusCode
	others := d.get("x-other-answers")
	plain := strings.HasPrefix(w.Header.Get("Content-Type"), "text/plain")
	switch {
	case status == http.StatusInternalServerError:
		return node{}, errors.New("500 is always a defect")
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return others.get("headers too large"), nil
	case status == http.StatusBadRequest && plain:
		return others.get("malformed"), nil
	case op != nil:
		if answer := op.get("responses", fmt.Sprint(status)); answer.there() {
			return answer, nil
		}
	}
	expected, key := http.StatusNotFound, "no path"
	switch {
	case status == http.StatusServiceUnavailable:
		return others.get("starting"), nil
	case op != nil:
		return node{}, fmt.Errorf("the operation is not described to answer %d", status)
	case known && method == http.MethodOptions:
		expected, key = http.StatusNoContent, "OPTIONS"
	case known:
		expected, key = http.StatusMethodNotAllowed, "no method"
	}
	if status != expected {
		return node{}, fmt.Errorf("no such operation is described (%s), and it answered %d", key, status)
	}
	return others.get(key), nil
}

func checkHeaders(answer node, h http.Header) error {
	var errs []error
	described := slices.Clone(general)
	for name, header := range answer.get("headers").members() {
		name = http.CanonicalHeaderKey(name)
		described = append(described, name)
		values := h.Values(name)
		if len(values) == 0 && header.get("required").value == true {
			errs = append(errs, fmt.Errorf("the answer lacks the header %s", name))
		}
		for _, value := range values {
			if err := header.matchesText(value); err != nil {
				errs = append(errs, fmt.Errorf("the answer's header %s: %w", name, err))
			}
		}
	}
	for name := range h {
		if !slices.Contains(described, name) {
			errs = append(errs, fmt.Errorf("the answer has the header %s, which is not described", name))
		}
	}
	return errors.Join(errs...)
}

func checkContent(answer node, h http.Header, body []byte) error {
	content := answer.get("content")
	if !content.there() {
		if len(body) > 0 {
			return fmt.Errorf("the answer is described without a body, and has %q", body)
		}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("the answer's Content-Type: %w", err)
	}
	media := content.get(mediaType)
	switch {
	case !media.there():
		return fmt.Errorf("the answer is %s, which is not described", mediaType)
	case mediaType == linesType:
		return checkLines(media, body)
	case mediaType != jsonType:
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the answer's body: %w", err)
	}
	if err := media.matches(value); err != nil {
		return fmt.Errorf("the answer's body: %w", err)
	}
	return nil
}

// checkLines holds each line of NDJSON to the schema.
func checkLines(media node, body []byte) error {
	if len(body) > 0 && body[len(body)-1] != '\n' {
		return errors.New("the answer's last line has no end")
	}
	n := 0
	for line := range bytes.Lines(body) {
		n++
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err == nil {
			err = media.matches(value)
		}
		if err != nil {
			return fmt.Errorf("line %d of the answer's body: %w", n, err)
		}
	}
	return nil
}

func (o operation) checkParameters(r *http.Request, vars map[string]string) error {
	var errs []error
	query := r.URL.Query()
	for _, p := range append(o.item.get("parameters").items(), o.get("parameters").items()...) {
		var values []string
		name, in := p.get("name").text(), p.get("in").text()
		switch in {
		case "path":
			values = []string{vars[name]}
		case "query":
			values = query[name]
		case "header":
			values = r.Header.Values(name)
		}
		if len(values) == 0 && p.get("required").value == true {
			errs = append(errs, fmt.Errorf("it succeeded without the %s parameter %s, which is described as required", in, name))
		}
		for _, value := range values {
			if err := p.matchesText(value); err != nil {
				errs = append(errs, fmt.Errorf("it succeeded although its %s parameter %s is not as described: %w", in, name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (o operation) checkBody(body []byte) error {
	description := o.get("requestBody")
	if len(body) == 0 || !description.there() {
		if description.get("required").value == true {
			return errors.New("it succeeded without a body, which is described as required")
		}
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = description.get("content", jsonType).matches(withoutNulls(value))
	}
	if err != nil {
		return fmt.Errorf("it succeeded although its body is not as described: %w", err)
	}
	return nil
}

// withoutNulls leaves out the fields that are null, as the API does.
func withoutNulls(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	rest := map[string]any{}
	for name, value := range object {
		if value != nil {
			rest[name] = withoutNulls(value)
		}
	}
	return rest
}

// checkSecurity wants one of the alternatives of an operation complete.
func (o operation) checkSecurity(r *http.Request) error {
	security := o.get("security")
	if !security.there() {
		security = o.doc.get("security")
	}
	alternatives := security.items()
	for _, alternative := range alternatives {
		complete := true
		for name := range alternative.members() {
			complete = complete && shows(r, o.doc.get("components", "securitySchemes", name))
		}
		if complete {
			return nil
		}
	}
	if len(alternatives) == 0 {
		return nil
	}
	return errors.New("it succeeded without what its security is described as")
}

// shows tells whether a request has a credential of a kind.
func shows(r *http.Request, scheme node) bool {
	name := scheme.get("name").text()
	switch {
	case scheme.get("type").text() == "http":
		kind, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.EqualFold(kind, scheme.get("scheme").text())
	case scheme.get("in").text() == "cookie":
		_, err := r.Cookie(name)
		return err == nil
	}
	return r.Header.Get(name) != ""
}
