package openapi

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestConversion(t *testing.T) {
	tests := []struct{ name, yaml, json, err string }{
		{"order stays", "b: 1\na: {d: [x, 2.5, true, null], c: \"1\"}", `{"b":1,"a":{"d":["x",2.5,true,null],"c":"1"}}`, ""},
		{"times stay texts", "at: 2026-03-01T09:00:00Z\non: 2026-03-01", `{"at":"2026-03-01T09:00:00Z","on":"2026-03-01"}`, ""},
		{"nothing is escaped for HTML", `a: "<&>\n"`, `{"a":"<&>\n"}`, ""},
		{"a part that is used again", "a: &part {x: 1}\nb: *part", `{"a":{"x":1},"b":{"x":1}}`, ""},
		{"a name twice", "a: 1\na: 2", "", "a is there twice"},
		{"a text that a comma cuts off", "a: {description: one, two}", "", "line 1: a name without a value"},
		{"no mapping", "- a", "", "not one mapping"},
		{"nothing", "", "", "not one mapping"},
		{"no YAML", "a: [", "", "spec/a.yaml"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			o, err := readObject(fstest.MapFS{"spec/a.yaml": {Data: []byte(tc.yaml)}}, "spec/a.yaml")
			switch {
			case tc.err == "" && (err != nil || string(o.encode()) != tc.json):
				t.Errorf("got %s, %v, want %s", o.encode(), err, tc.json)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("got %v, want %s", err, tc.err)
			}
		})
	}
}

// A path or component that two files have is one too many.
func TestFilesDoNotOverlap(t *testing.T) {
	files := fstest.MapFS{
		"spec/components/schemas/a.yaml": {Data: []byte("Claim: {type: object}")},
		"spec/components/schemas/b.yaml": {Data: []byte("Claim: {type: string}")},
	}
	if _, err := assembleComponents(files); err == nil || !strings.Contains(err.Error(), "Claim is there twice") {
		t.Errorf("got %v", err)
	}
}
