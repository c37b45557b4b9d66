package capture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The order in which the ledger writes the fields of an event, and of its data.
var (
	eventFields = []string{"event", "timestamp", "data", "id", "position", "sequence"}
	dataFields  = []string{
		"claim_id", "namespace", "service", "public_key", "agent_ip", "subject", "agent_id", "agent_name",
		"reason", "auto_approved", "expires_at", "webhook_id",
	}
)

// reordered writes an event anew as the ledger would have: what has parsed and written it
// may have sorted its fields and escaped its text.
func reordered(body []byte) ([]byte, error) {
	return writeObject(body, eventFields, func(name string, value json.RawMessage) ([]byte, error) {
		if name == "data" {
			return writeObject(value, dataFields, writeValue)
		}
		return writeValue(name, value)
	})
}

func writeObject(object []byte, order []string, write func(string, json.RawMessage) ([]byte, error)) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	separator := byte('{')
	for _, name := range order {
		value, ok := fields[name]
		if !ok {
			continue
		}
		delete(fields, name)
		text, err := write(name, value)
		if err != nil {
			return nil, err
		}
		out.WriteByte(separator)
		fmt.Fprintf(&out, "%q:%s", name, text)
		separator = ','
	}
	if len(fields) > 0 || separator == '{' {
		return nil, errors.New("an object with other fields than the ledger's")
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// writeValue escapes no more of a text than has to be.
func writeValue(_ string, value json.RawMessage) ([]byte, error) {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return value, nil // a number, or true or false
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(text)
	return bytes.TrimSpace(out.Bytes()), err
}
