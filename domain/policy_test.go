package domain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestAutoApproveRule(t *testing.T) {
	listed, other := "svc", "svc-2"
	v4, v6, mapped := "203.0.113.0/24", "2001:db8::/32", "::ffff:198.51.100.0/120"
	for _, c := range []struct {
		cidrs   []string
		service string
		ip      string
		want    bool
	}{
		{nil, listed, "203.0.113.7", true},
		{nil, listed, "not an address", true}, // the rule does not ask for one
		{nil, other, "203.0.113.7", false},
		{[]string{v4}, listed, "203.0.113.0", true},
		{[]string{v4}, listed, "203.0.113.255", true},
		{[]string{v4}, listed, "203.0.114.0", false},
		{[]string{v4}, listed, "::ffff:203.0.113.7", true},
		{[]string{v4}, listed, "::203.0.113.7", false},
		{[]string{v4}, listed, "2001:db8::1", false},
		{[]string{v4}, listed, "", false},
		{[]string{v4}, other, "203.0.113.7", false}, // an address alone never approves
		{[]string{v6}, listed, "2001:db8:ffff::1", true},
		{[]string{v6}, listed, "2001:db9::1", false},
		{[]string{v6}, listed, "203.0.113.7", false},
		{[]string{v6}, other, "2001:db8::1", false},
		{[]string{v6, v4}, listed, "203.0.113.7", true},
		{[]string{"203.0.113.9/32"}, listed, "203.0.113.9", true},
		{[]string{"203.0.113.9/32"}, listed, "203.0.113.8", false},
		{[]string{"203.0.113.9/24"}, listed, "203.0.113.8", true},
		{[]string{"0.0.0.0/0"}, listed, "::ffff:8.8.8.8", true},
		{[]string{"::/0"}, listed, "8.8.8.8", false}, // a range of the other family
		// A range may be written in the mapped form as well.
		{[]string{mapped}, listed, "198.51.100.7", true},
		{[]string{mapped}, listed, "::ffff:198.51.100.7", true},
		{[]string{mapped}, listed, "198.51.101.7", false},
		{[]string{"::ffff:0:0/96"}, listed, "198.51.101.7", true},
		{[]string{"::ffff:0:0/95"}, listed, "198.51.101.7", false}, // wider than the IPv4 addresses
		{[]string{"fe80::/10"}, listed, "fe80::1", true},
	} {
		p := DefaultPolicy()
		p.AutoApprove = AutoApprove{ServiceIDs: []string{"svc-0", listed}, CIDRs: c.cidrs}
		if got := p.Approves(c.service, c.ip); got != c.want {
			t.Errorf("%v, service %s, address %s: %t", c.cidrs, c.service, c.ip, got)
		}
	}
	none := DefaultPolicy()
	if none.AutoApprove.CIDRs = []string{"0.0.0.0/0"}; none.Approves(listed, "203.0.113.7") {
		t.Error("a range without a service approves")
	}
}

func TestDefaultPolicy(t *testing.T) {
	p := DefaultPolicy()
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if p.Limits != (Limits{20, 100, 10, 24}) || p.AutoApprove.ServiceIDs == nil || p.AutoApprove.CIDRs == nil {
		t.Errorf("%+v", p)
	}
}

// Every field has the same upper bound; only the hours may be 0.
func TestPolicyBounds(t *testing.T) {
	fields := map[string]func(*Policy) *int{
		"max_pending":          func(p *Policy) *int { return &p.MaxPending },
		"max_agents":           func(p *Policy) *int { return &p.MaxAgents },
		"max_services":         func(p *Policy) *int { return &p.MaxServices },
		"pending_expiry_hours": func(p *Policy) *int { return &p.PendingExpiryHours },
	}
	for name, field := range fields {
		for value, good := range map[int]bool{
			-1: false, 0: name == "pending_expiry_hours", 1: true, 10_000_000: true, 10_000_001: false,
		} {
			p := DefaultPolicy()
			*field(&p) = value
			expectFields(t, fmt.Sprint(name, " ", value), p.Validate(), map[bool][]string{false: {name}}[good]...)
		}
	}
}

func TestPolicyNamesEveryField(t *testing.T) {
	p := Policy{AutoApprove: AutoApprove{
		ServiceIDs: []string{"svc", "", strings.Repeat("x", 64), strings.Repeat("x", 65)},
		CIDRs:      []string{"10.0.0.0/8", "10.0.0.0", "10.0.0.0/33", "", "2001:db8::/32", "fe80::%eth0/64", "010.0.0.0/8"},
	}}
	p.PendingExpiryHours = -1
	expectFields(t, "all", p.Validate(), "max_pending", "max_agents", "max_services", "pending_expiry_hours",
		"auto_approve.service_ids[1]", "auto_approve.service_ids[3]",
		"auto_approve.cidrs[1]", "auto_approve.cidrs[2]", "auto_approve.cidrs[3]", "auto_approve.cidrs[5]", "auto_approve.cidrs[6]")
}

func TestPolicyListBounds(t *testing.T) {
	for n, good := range map[int]bool{0: true, 1: true, MaxAutoApproveEntries: true, MaxAutoApproveEntries + 1: false} {
		p := DefaultPolicy()
		p.AutoApprove.ServiceIDs = slices.Repeat([]string{"svc"}, n)
		expectFields(t, fmt.Sprint(n, " services"), p.Validate(), map[bool][]string{false: {"auto_approve.service_ids"}}[good]...)
		p = DefaultPolicy()
		p.AutoApprove.CIDRs = slices.Repeat([]string{"10.0.0.0/8"}, n)
		expectFields(t, fmt.Sprint(n, " ranges"), p.Validate(), map[bool][]string{false: {"auto_approve.cidrs"}}[good]...)
	}
}

// expectFields expects a refusal that names exactly these fields; none means no refusal.
func expectFields(t *testing.T, what string, err error, fields ...string) {
	t.Helper()
	if len(fields) == 0 {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeInvalidRequest {
		t.Errorf("%s: got %v, want %v refused", what, err, fields)
		return
	}
	var got []string
	for _, d := range refusal.Details {
		got = append(got, d.Field)
	}
	if !slices.Equal(got, fields) {
		t.Errorf("%s: got %v, want %v", what, got, fields)
	}
}
