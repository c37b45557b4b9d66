package openapi

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// paths are the files with the operations, in the order in which a reader meets them.
var paths = []string{"claims", "verification", "namespaces", "history", "loghead", "services", "deliveries", "managementkeys", "sessions", "passkeys", "operation"}

// object is a JSON object that keeps the order of its members, which is part of a
// document that people read.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

func (o object) encode() json.RawMessage {
	out := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, quote(m.name)...)
		out = append(out, ':')
		out = append(out, m.value...)
	}
	return append(out, '}')
}

// with is the object with a member replaced, or added at its end.
func (o object) with(name string, value json.RawMessage) object {
	o = slices.Clone(o)
	for i := range o {
		if o[i].name == name {
			o[i].value = value
			return o
		}
	}
	return append(o, member{name, value})
}

func (o object) get(name string) json.RawMessage {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// join adds members, of which each name may stand only once.
func (o object) join(more object) (object, error) {
	for _, m := range more {
		if o.get(m.name) != nil {
			return nil, fmt.Errorf("%s is there twice", m.name)
		}
		o = append(o, m)
	}
	return o, nil
}

// assemble puts the files of spec/ together.
func assemble(files fs.FS) (object, error) {
	doc, err := readObject(files, "spec/openapi.yaml")
	if err != nil {
		return nil, err
	}
	introduction, err := fs.ReadFile(files, "spec/introduction.md")
	if err != nil {
		return nil, err
	}
	var info object
	if info, err = decodeObject(doc.get("info")); err != nil {
		return nil, err
	}
	doc = doc.with("info", info.with("description", quote(string(introduction))).encode())

	var operations object
	for _, name := range paths {
		if operations, err = joinFile(files, "spec/paths/"+name+".yaml", operations); err != nil {
			return nil, err
		}
	}
	webhooks, err := readObject(files, "spec/webhooks.yaml")
	if err != nil {
		return nil, err
	}
	components, err := assembleComponents(files)
	if err != nil {
		return nil, err
	}
	return doc.with("paths", operations.encode()).with("webhooks", webhooks.encode()).with("components", components.encode()), nil
}

// assembleComponents takes a section from each file in components/, and one from all
// files in a directory there.
func assembleComponents(files fs.FS) (object, error) {
	entries, err := fs.ReadDir(files, "spec/components")
	if err != nil {
		return nil, err
	}
	var components object
	for _, e := range entries {
		section := strings.TrimSuffix(e.Name(), ".yaml")
		names := []string{path.Join("spec/components", e.Name())}
		if e.IsDir() {
			if names, err = fs.Glob(files, path.Join("spec/components", e.Name(), "*.yaml")); err != nil {
				return nil, err
			}
		}
		var content object
		for _, name := range names {
			if content, err = joinFile(files, name, content); err != nil {
				return nil, err
			}
		}
		components = append(components, member{section, content.encode()})
	}
	return components, nil
}

func joinFile(files fs.FS, name string, to object) (object, error) {
	more, err := readObject(files, name)
	if err != nil {
		return nil, err
	}
	joined, err := to.join(more)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return joined, nil
}

func readObject(files fs.FS, name string) (object, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(file.Content) != 1 || file.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s is not one mapping", name)
	}
	o, err := convertMapping(file.Content[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return o, nil
}

func decodeObject(text json.RawMessage) (object, error) {
	var node yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	return convertMapping(node.Content[0])
}

func convertMapping(node *yaml.Node) (object, error) {
	var o object
	for i := 0; i < len(node.Content); i += 2 {
		name := node.Content[i].Value
		value, err := convert(node.Content[i+1])
		if err != nil {
			return nil, err
		}
		if o, err = o.join(object{{name, value}}); err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Content[i].Line, err)
		}
	}
	return o, nil
}

// convert writes YAML as JSON. Times and the like stay the texts that they are.
func convert(node *yaml.Node) (json.RawMessage, error) {
	switch node.Kind {
	case yaml.AliasNode:
		return convert(node.Alias)
	case yaml.MappingNode:
		o, err := convertMapping(node)
		return o.encode(), err
	case yaml.SequenceNode:
		items := make([]json.RawMessage, len(node.Content))
		for i, item := range node.Content {
			var err error
			if items[i], err = convert(item); err != nil {
				return nil, err
			}
		}
		return json.Marshal(items)
	}
	if node.Tag == "!!null" && node.Value == "" {
		// As what follows a comma in an unquoted text does.
		return nil, fmt.Errorf("line %d: a name without a value", node.Line)
	}
	switch node.Tag {
	case "!!int", "!!float", "!!bool", "!!null":
		var v any
		if err := node.Decode(&v); err != nil {
			return nil, err
		}
		return json.Marshal(v)
	}
	return quote(node.Value), nil
}

// quote writes a text for JSON without the escapes that are for HTML.
func quote(text string) json.RawMessage {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // a string always has a JSON form
	}
	return json.RawMessage(strings.TrimSuffix(out.String(), "\n"))
}
