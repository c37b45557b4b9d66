package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// severalOwners: they come and go, each with his own link; who goes is out at once.
func (b *beside) severalOwners(t *testing.T) {
	place := []string{"--data-dir", b.dir}
	owner := func(args ...string) []string { return append(append([]string{"owner"}, args...), place...) }
	list := func() (listed struct {
		Namespace string
		Owners    []listedOwner
	}) {
		if err := json.Unmarshal([]byte(must(t, owner("list", "several", "--json")...)), &listed); err != nil {
			t.Fatal(err)
		}
		return listed
	}
	tn := newTenant(t, b.client, "several", place...)
	first := tn.login.OwnerID
	if r := run(t, owner("remove", "several", first)...); r.code != exitFailure || !strings.Contains(r.err, "last owner") {
		t.Errorf("removing the last owner ended with %d: %s", r.code, r.err)
	}
	var added loginLink
	if err := json.Unmarshal([]byte(must(t, owner("add", "several", "--email", "second@example.com", "--json")...)), &added); err != nil {
		t.Fatal(err)
	}
	second := tn.at(b.client)
	second.signIn(added.LoginToken)
	got := list()
	if len(got.Owners) != 2 || got.Owners[0].OwnerID != first || got.Owners[0].Email != "owner@example.com" ||
		got.Owners[1].OwnerID != added.OwnerID || got.Owners[1].Email != "second@example.com" || got.Owners[1].AddedAt.IsZero() {
		t.Errorf("the owners are %+v", got)
	}
	if out := must(t, owner("list", "several")...); strings.Count(out, "\n") != 3 || !strings.Contains(out, added.OwnerID+"  second@example.com  0  ") {
		t.Errorf("the list is\n%s", out)
	}
	// What a new namespace begins with is the operator's to say.
	var limited loginLink
	if err := json.Unmarshal([]byte(must(t, owner("create", "limited", "--email", "o@example.com", "--json", "--new-max-pending", "3", "--new-pending-expiry-hours", "0")...)), &limited); err != nil {
		t.Fatal(err)
	}
	other := tn.at(b.client)
	other.signIn(limited.LoginToken)
	policy := other.expect(http.StatusOK, "GET", "/v1/namespaces/limited/policy", nil, other.asOwner)
	if !strings.HasPrefix(string(policy.body), `{"max_pending":3,"max_agents":100,"max_services":10,"pending_expiry_hours":0,`) {
		t.Errorf("it begins with %s", policy.body)
	}
	if r := run(t, owner("create", "unlimited", "--email", "o@example.com", "--new-max-agents", "0")...); r.code != exitUsage || !strings.Contains(r.err, "--new-max-agents") {
		t.Errorf("no agents at all ended with %d: %s", r.code, r.err)
	}
	// A link for whom it is asked.
	var link loginLink
	if err := json.Unmarshal([]byte(must(t, owner("login-link", "several", "--owner", added.OwnerID, "--json")...)), &link); err != nil || link.OwnerID != added.OwnerID {
		t.Errorf("the link is %+v, %v", link, err)
	}
	if r := run(t, owner("login-link", "several", "--owner", "owner_x")...); r.code != exitFailure || !strings.Contains(r.err, "no such owner") {
		t.Errorf("a link for nobody ended with %d: %s", r.code, r.err)
	}

	if out := must(t, owner("remove", "several", first)...); out != first+" is no owner of several any more\n" {
		t.Errorf("it says %q", out)
	}
	tn.expect(http.StatusUnauthorized, "GET", "/v1/services", nil, tn.asOwner)
	second.expect(http.StatusOK, "GET", "/v1/services", nil, second.asOwner)
	if got := list(); len(got.Owners) != 1 || got.Owners[0].OwnerID != added.OwnerID {
		t.Errorf("the owners are %+v", got)
	}
	if out := must(t, owner("login-link", "several", "--json")...); !strings.Contains(out, added.OwnerID) {
		t.Errorf("the link is now for %s", out)
	}
	for _, args := range [][]string{
		owner("remove", "several", first), owner("remove", "several", "owner_x"), owner("remove", "nobody", first),
		owner("add", "nobody", "--email", "o@example.com"), owner("list", "nobody"),
	} {
		if r := run(t, args...); r.code != exitFailure || r.out != "" {
			t.Errorf("%v ended with %d: %s%s", args, r.code, r.out, r.err)
		}
	}
}
