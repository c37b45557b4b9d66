package openapitest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/claimledger/claimledger/api/openapi"
)

// document is the API's description, ready to be compared with.
type document struct {
	root       any
	operations []operation

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema // by JSON pointer
}

// operation is what one method does at one path.
type operation struct {
	method   string
	segments []string // of the path; one in braces stands for any
	item     node     // the path item
	node
}

const documentURL = "https://ledger.example/openapi.json"

// load is done once: compiling takes longer than most tests.
var load = sync.OnceValues(func() (*document, error) {
	text, err := openapi.Document("https://ledger.example")
	if err != nil {
		return nil, err
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &document{root: root, compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(documentURL, root); err != nil {
		return nil, err
	}
	for path, item := range d.get("paths").members() {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if op := item.get(strings.ToLower(method)); op.there() {
				d.operations = append(d.operations, operation{method, strings.Split(path, "/"), item, op})
			}
		}
	}
	// A path without braces goes before one with them.
	slices.SortStableFunc(d.operations, func(a, b operation) int { return a.open() - b.open() })
	return d, nil
})

func (o operation) open() (n int) {
	for _, s := range o.segments {
		if strings.HasPrefix(s, "{") {
			n++
		}
	}
	return n
}

// vars are what stands for the braces in a path; ok is false for another path.
func (o operation) vars(segments []string) (vars map[string]string, ok bool) {
	if len(segments) != len(o.segments) {
		return nil, false
	}
	vars = map[string]string{}
	for i, want := range o.segments {
		switch {
		case strings.HasPrefix(want, "{") && segments[i] != "":
			vars[strings.Trim(want, "{}")] = segments[i]
		case want != segments[i]:
			return nil, false
		}
	}
	return vars, true
}

// find finds the operation of a request, nil where there is none; known tells whether
// the path has others. Like the server, it takes the path as it is written.
func (d *document) find(method, path string) (op *operation, vars map[string]string, known bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if strings.Contains(path, "%") {
		return nil, nil, false
	}
	segments := strings.Split(path, "/")
	plain := false
	for i := range d.operations {
		if plain && d.operations[i].open() > 0 {
			break // a path in plain letters is no name
		}
		vars, ok := d.operations[i].vars(segments)
		if ok && d.operations[i].method == method {
			return &d.operations[i], vars, true
		}
		known, plain = known || ok, plain || ok && d.operations[i].open() == 0
	}
	return nil, nil, known
}

// node is a place in the document.
type node struct {
	doc   *document
	at    string // as a JSON pointer
	value any
}

func (d *document) get(names ...string) node { return node{d, "", d.root}.get(names...) }

func (n node) there() bool { return n.value != nil }

func (n node) text() string {
	text, _ := n.value.(string)
	return text
}

// pointerEscape writes a name in a JSON pointer (RFC 6901, 3).
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// get goes down by names, and along references.
func (n node) get(names ...string) node {
	for _, name := range names {
		m, _ := n.value.(map[string]any)
		n = node{n.doc, n.at + "/" + pointerEscape.Replace(name), m[name]}.follow()
	}
	return n
}

func (n node) follow() node {
	m, _ := n.value.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return n.doc.get(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return n
}

// members are those of an object, in the order of their names.
func (n node) members() func(yield func(string, node) bool) {
	m, _ := n.value.(map[string]any)
	return func(yield func(string, node) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, n.get(name)) {
				return
			}
		}
	}
}

func (n node) items() []node {
	list, _ := n.value.([]any)
	items := make([]node, len(list))
	for i, value := range list {
		items[i] = node{n.doc, fmt.Sprintf("%s/%d", n.at, i), value}.follow()
	}
	return items
}

// matches holds a value to the schema of a parameter, header or media type.
func (n node) matches(value any) error {
	s, err := n.doc.schema(n.at + "/schema")
	if err != nil {
		return err
	}
	return s.Validate(value)
}

// matchesText holds a text from a query or a header to the schema, as it stands or as
// the number or truth value that it may be.
func (n node) matchesText(text string) error {
	err := n.matches(text)
	if err == nil {
		return nil
	}
	if value, parseErr := jsonschema.UnmarshalJSON(strings.NewReader(text)); parseErr == nil && n.matches(value) == nil {
		return nil
	}
	return err
}

func (d *document) schema(at string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, ok := d.compiled[at]; ok {
		return s, nil
	}
	s, err := d.compiler.Compile(documentURL + "#" + (&url.URL{Path: at}).EscapedPath())
	if err != nil {
		return nil, errors.Join(errors.New("the description itself is wrong"), err)
	}
	d.compiled[at] = s
	return s, nil
}
