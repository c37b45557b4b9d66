package domain

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Defaults and bounds of a namespace's policy.
const (
	DefaultMaxPending         = 20
	DefaultMaxAgents          = 100
	DefaultMaxServices        = 10
	DefaultPendingExpiryHours = 24

	// MaxPolicyValue bounds every number in a policy.
	MaxPolicyValue = 10_000_000
	// MaxAutoApproveEntries bounds each list of the auto-approval rule, so that a
	// policy always fits one commit.
	MaxAutoApproveEntries = 1000
)

// Policy is what a namespace's owner allows without being asked, and how much.
type Policy struct {
	Limits
	AutoApprove AutoApprove `json:"auto_approve"`
}

// Limits are the numbers of a policy.
type Limits struct {
	MaxPending         int `json:"max_pending"`          // pending claims in the namespace
	MaxAgents          int `json:"max_agents"`           // distinct agent keys with an approved claim
	MaxServices        int `json:"max_services"`         // distinct services with an approved claim
	PendingExpiryHours int `json:"pending_expiry_hours"` // 0: never
}

// AutoApprove approves a claim on a listed service at once, when CIDRs is empty or
// the agent's address lies in one of them. An address alone never approves: it is
// the caller's word.
type AutoApprove struct {
	ServiceIDs []string `json:"service_ids"`
	CIDRs      []string `json:"cidrs"`
}

// DefaultPolicy is the policy of a namespace that has not set its own.
func DefaultPolicy() Policy {
	return Policy{
		Limits: Limits{
			MaxPending:         DefaultMaxPending,
			MaxAgents:          DefaultMaxAgents,
			MaxServices:        DefaultMaxServices,
			PendingExpiryHours: DefaultPendingExpiryHours,
		},
		AutoApprove: AutoApprove{ServiceIDs: []string{}, CIDRs: []string{}},
	}
}

func (p Policy) equal(q Policy) bool {
	return p.Limits == q.Limits && slices.Equal(p.AutoApprove.ServiceIDs, q.AutoApprove.ServiceIDs) &&
		slices.Equal(p.AutoApprove.CIDRs, q.AutoApprove.CIDRs)
}

// Validate reports every field that is out of bounds.
func (p Policy) Validate() error {
	var v Violations
	bounded := func(field string, n, least int) {
		if n < least || n > MaxPolicyValue {
			v.Add(field, fmt.Sprintf("must be a whole number from %d to %d", least, MaxPolicyValue))
		}
	}
	bounded("max_pending", p.MaxPending, 1)
	bounded("max_agents", p.MaxAgents, 1)
	bounded("max_services", p.MaxServices, 1)
	bounded("pending_expiry_hours", p.PendingExpiryHours, 0)
	if n := len(p.AutoApprove.ServiceIDs); n > MaxAutoApproveEntries {
		v.Add("auto_approve.service_ids", fmt.Sprintf("has %d entries; at most %d", n, MaxAutoApproveEntries))
	}
	if n := len(p.AutoApprove.CIDRs); n > MaxAutoApproveEntries {
		v.Add("auto_approve.cidrs", fmt.Sprintf("has %d entries; at most %d", n, MaxAutoApproveEntries))
	}
	for i, id := range p.AutoApprove.ServiceIDs {
		if id == "" || len(id) > 64 {
			v.Add(fmt.Sprintf("auto_approve.service_ids[%d]", i), "must be a service id")
		}
	}
	for i, c := range p.AutoApprove.CIDRs {
		if _, err := netip.ParsePrefix(c); err != nil {
			v.Add(fmt.Sprintf("auto_approve.cidrs[%d]", i), "must be an address range such as 203.0.113.0/24 or 2001:db8::/32")
		}
	}
	return v.Err()
}

// Approves reports whether the policy alone approves a claim on the service by an
// agent at that address.
func (p Policy) Approves(serviceID, agentIP string) bool {
	if !slices.Contains(p.AutoApprove.ServiceIDs, serviceID) {
		return false
	}
	if len(p.AutoApprove.CIDRs) == 0 {
		return true
	}
	addr, err := netip.ParseAddr(agentIP)
	if err != nil {
		return false
	}
	// 203.0.113.7 and ::ffff:203.0.113.7 are one machine: ranges are matched on
	// the unmapped address.
	addr = addr.Unmap().WithZone("")
	for _, c := range p.AutoApprove.CIDRs {
		prefix, err := netip.ParsePrefix(c)
		if err == nil && unmapped(prefix).Contains(addr) {
			return true
		}
	}
	return false
}

// unmapped is the IPv4 range that ::ffff:203.0.113.0/120 and its kind stand for.
func unmapped(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p
}

// pendingUntil is when a claim that was submitted at that time ends undecided, nil
// for never.
func (p Limits) pendingUntil(submitted time.Time) *time.Time {
	if p.PendingExpiryHours == 0 {
		return nil
	}
	// The largest setting is 1,140 years and a time.Duration ends at 292, so whole
	// days are added by the calendar, in UTC, where each of them has 24 hours.
	days, hours := p.PendingExpiryHours/24, p.PendingExpiryHours%24
	t := submitted.UTC().AddDate(0, 0, days).Add(time.Duration(hours) * time.Hour)
	return &t
}
