package openapi_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/claimledger/claimledger/api/openapi"
	"github.com/claimledger/claimledger/domain"
)

// Every type of event is described, with the form of its data, and nothing else is.
func TestEveryEventIsDescribed(t *testing.T) {
	text, err := openapi.Document(publicURL)
	if err != nil {
		t.Fatal(err)
	}
	type form struct {
		If struct {
			Properties struct{ Type struct{ Const string } }
		}
		Then struct {
			Properties struct{ Data map[string]string }
		}
	}
	var doc struct {
		Components struct {
			Schemas struct {
				EventType    struct{ Enum []string }
				HistoryEvent struct{ AllOf []form }
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var want, forms []string
	for _, eventType := range slices.Sorted(maps.Keys(domain.EventTypes())) {
		want = append(want, string(eventType))
	}
	for _, f := range doc.Components.Schemas.HistoryEvent.AllOf {
		if f.Then.Properties.Data["$ref"] != "" {
			forms = append(forms, f.If.Properties.Type.Const)
		}
	}
	for what, got := range map[string][]string{"types": doc.Components.Schemas.EventType.Enum, "forms of data": forms} {
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("the %s that are described are %q\nwant %q", what, got, want)
		}
	}
}
