package api_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/claimledger/claimledger/api/httpsig"
	"github.com/claimledger/claimledger/domain"
)

// guarded is every request of an owner, with the permission that a key needs for it.
func guarded() map[string]domain.Permission {
	const c, s, k = "/v1/claims/claim_x", "/v1/services/", "/v1/services/x/keys"
	all := map[string]domain.Permission{
		"GET " + c: domain.PermissionRead, "GET " + c + "/events": domain.PermissionRead,
		"POST " + c + "/approve": domain.PermissionUpdateData, "POST " + c + "/reject": domain.PermissionUpdateData,
		"POST " + c + "/revoke": domain.PermissionDeleteData, "POST " + c + "/expire": domain.PermissionDeleteData,
		"GET /v1/namespaces/acme/claims": domain.PermissionRead, "GET /v1/namespaces/acme/events": domain.PermissionRead,
		"GET /v1/namespaces/acme/policy": domain.PermissionRead, "PATCH /v1/namespaces/acme/policy": domain.PermissionUpdateModel,
		"GET /v1/services": domain.PermissionRead, "POST /v1/services": domain.PermissionUpdateModel,
		"GET " + s + "x": domain.PermissionRead, "PATCH " + s + "x": domain.PermissionUpdateModel, "DELETE " + s + "x": domain.PermissionDeleteModel,
		"GET " + k: domain.PermissionRead, "POST " + k: domain.PermissionUpdateModel,
		"POST " + k + "/y/deactivate": domain.PermissionUpdateModel, "DELETE " + k + "/y": domain.PermissionDeleteModel,
		"GET " + s + "x/webhooks": domain.PermissionRead, "POST " + s + "x/webhooks": domain.PermissionUpdateModel,
		"GET " + s + "x/webhooks/y": domain.PermissionRead, "DELETE " + s + "x/webhooks/y": domain.PermissionDeleteModel,
	}
	for _, at := range []string{"/v1/api-keys", "/api-keys"} {
		all["GET "+at] = domain.PermissionRead
		all["POST "+at] = domain.PermissionUpdateModel
		all["POST "+at+"/x/deactivate"] = domain.PermissionUpdateModel
		all["DELETE "+at+"/x"] = domain.PermissionDeleteModel
	}
	return all
}

// bodies are what POST and PATCH need to get as far as the permission.
func bodyOf(request string) any {
	switch method, path, _ := strings.Cut(request, " "); {
	case method == "GET" || method == "DELETE":
		return nil
	case strings.HasSuffix(path, "api-keys"):
		return map[string]any{"name": "k", "permissions": []string{"read"}}
	case strings.HasSuffix(path, "webhooks"):
		return map[string]any{"url": "https://example.com"}
	case path == "/v1/services/x":
		return map[string]any{"name": "s"}
	case path == "/v1/services":
		return map[string]any{"name": "s", "slug": "s-" + strings.ToLower(newID())}
	}
	return map[string]any{}
}

// Every request needs its one permission, and no other.
func TestPermissions(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	for _, p := range domain.Permissions {
		only, _ := o.key(string(p))
		var others []string
		for _, other := range domain.Permissions {
			if other != p {
				others = append(others, string(other))
			}
		}
		without, _ := o.key(others...)
		for request, needed := range guarded() {
			if needed != p {
				continue
			}
			method, path, _ := strings.Cut(request, " ")
			r := n.refuse(t, 403, domain.CodePermissionRequired, method, path, bodyOf(request), without)
			if !strings.Contains(r.text("error"), string(p)) {
				t.Errorf("%s: the refusal says %q", request, r.text("error"))
			}
			r = n.send(t, method, path, bodyOf(request), only)
			if r.status != 200 && r.status != 201 && r.text("code") != "NOT_FOUND" && !keyAboveItself(request, p, r) {
				t.Errorf("%s with %s: %s", request, p, r.body)
			}
			n.refuse(t, 401, domain.CodeUnauthorized, method, path, bodyOf(request))
		}
	}
}

// keyAboveItself is the refusal to make a key with a permission that the caller lacks.
func keyAboveItself(request string, p domain.Permission, r *reply) bool {
	return strings.HasPrefix(request, "POST") && strings.HasSuffix(request, "api-keys") && p == domain.PermissionUpdateModel &&
		r.text("code") == "PERMISSION_REQUIRED" && strings.Contains(r.text("error"), "read")
}

// Nobody gives, or takes, what he lacks.
func TestKeysOverKeys(t *testing.T) {
	l := newLedger(t)
	n := l.start()
	o := n.owner(t, "acme")
	some, _ := o.key("read", "update-model", "delete-model")
	_, strong := o.key("read", "update-data")
	const refused = domain.CodePermissionRequired
	n.refuse(t, 403, refused, "POST", "/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"read", "delete-data"}}, some)
	n.refuse(t, 403, refused, "POST", "/api-keys/"+strong+"/deactivate", nil, some)
	n.refuse(t, 403, refused, "DELETE", "/v1/api-keys/"+strong, nil, some)
	weak := n.send(t, "POST", "/api-keys", map[string]any{"name": "k", "permissions": []string{"read"}}, some).want(201)
	n.send(t, "POST", "/v1/api-keys/"+weak.text("id")+"/deactivate", nil, some).want(200)
	n.send(t, "DELETE", "/api-keys/"+weak.text("id"), nil, some).want(200)
	n.refuse(t, 404, domain.CodeNotFound, "DELETE", "/api-keys/"+weak.text("id"), nil, some)
}

func TestManagementKeys(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	r := o.ask("POST", "/v1/api-keys", map[string]any{"name": "sync", "permissions": []string{"read", "update-data"}}).want(201)
	raw, id := r.text("rawKey"), r.text("id")
	if !regexp.MustCompile(`^sigma_sk_live_[0-9A-Za-z]{32,}$`).MatchString(raw) || r.text("name") != "sync" || r.at("active") != true ||
		r.text("createdAt") == "" || r.at("lastUsedAt") != nil || r.at("permissions.1") != "update-data" {
		t.Errorf("created was %s", r.body)
	}
	m.send(t, "GET", "/v1/auth/me", nil, managementKey(raw)).want(200) // it works everywhere at once
	for _, at := range []string{"/v1/api-keys", "/api-keys"} {
		list := o.ask("GET", at, nil).want(200)
		if list.text("0.id") != id || list.text("0.lastFour") != raw[len(raw)-4:] || list.at("1") != nil || strings.Contains(string(list.body), raw) || strings.Contains(string(list.body), "ash") {
			t.Errorf("%s lists %s", at, list.body)
		}
	}
	for _, bad := range []string{"sigma_sk_live_" + strings.Repeat("0", 40), "x", raw + "0", strings.ToUpper(raw), strings.Repeat("x", 5000)} {
		n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, managementKey(bad))
		n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, managementKey(bad), cookie(o.session)) // the key was meant
	}
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, bearer(raw))

	before := l.last()
	for range 2 {
		if r := o.ask("POST", "/v1/api-keys/"+id+"/deactivate", nil).want(200); r.at("success") != true {
			t.Errorf("deactivate answers %s", r.body)
		}
	}
	if l.last() != before+1 {
		t.Errorf("deactivating twice appended %d commits", l.last()-before)
	}
	n.refuse(t, 401, domain.CodeUnauthorized, "GET", "/v1/auth/me", nil, managementKey(raw)) // at once
	eventually(t, "the other node to refuse it", func() bool { return m.send(t, "GET", "/v1/auth/me", nil, managementKey(raw)).status == 401 })
	if list := o.ask("GET", "/v1/api-keys", nil); list.at("0.active") != false {
		t.Errorf("listed as %s", list.body)
	}
	o.ask("DELETE", "/v1/api-keys/"+id, nil).want(200)
	if list := o.ask("GET", "/v1/api-keys", nil); strings.TrimSpace(string(list.body)) != "[]" {
		t.Errorf("listed after it was deleted: %s", list.body)
	}
}

func TestServiceKeys(t *testing.T) {
	l := newLedger(t)
	n, m := l.start(), l.start()
	o := n.owner(t, "acme")
	s := o.service("weather")
	a := l.agent(t, "acme")
	if !regexp.MustCompile(`^sk_live_[0-9A-Za-z]{32,}$`).MatchString(s.key) {
		t.Errorf("a service key is %q", s.key)
	}
	keys := "/v1/services/" + s.id + "/keys"
	works := func(n *node) int {
		return n.send(t, "GET", "/v1/namespaces/claims", nil, bearer(s.key), signedBy(a.Signer)).status
	}
	if works(n) != 200 || works(m) != 200 { // made on one node, known on each
		t.Error("a new key does not work everywhere")
	}
	list := o.ask("GET", keys, nil).want(200)
	if list.text("keys.0.id") != s.keyID || list.text("keys.0.key_prefix") != s.key[:12] || list.at("keys.0.active") != true ||
		list.text("keys.0.created_at") == "" || list.text("keys.0.last_used_at") == "" || strings.Contains(string(list.body), s.key) {
		t.Errorf("listed as %s", list.body)
	}
	o.ask("POST", keys+"/"+s.keyID+"/deactivate", nil).want(200)
	if works(n) != 401 {
		t.Error("a deactivated key works")
	}
	eventually(t, "the other node to refuse it", func() bool { return works(m) == 401 })
	if r := o.ask("GET", "/v1/services/"+s.id, nil); r.at("active_key_count") != 0.0 {
		t.Errorf("the service is %s", r.body)
	}
	second := o.ask("POST", keys, map[string]any{"name": "second"}).want(201)
	o.ask("DELETE", keys+"/"+second.text("id"), nil).want(200)
	o.refused(404, domain.CodeNotFound, "DELETE", keys+"/"+second.text("id"), nil)
	s.key = second.text("key")
	if works(n) != 401 {
		t.Error("a revoked key works")
	}
	if list := o.ask("GET", keys, nil); list.at("pagination.total") != 1.0 {
		t.Errorf("listed as %s", list.body)
	}
}

// Deleting a service ends its keys and webhooks; its slug is free again.
func TestDeletingAService(t *testing.T) {
	l := newLedger(t)
	n := l.start(func(s *settings) {
		s.limits = domain.OwnerLimits{Services: 1, KeysPerService: 1, WebhooksPerService: 1, ManagementKeys: 1}
	})
	o := n.owner(t, "acme")
	s := o.service("weather")
	at := "/v1/services/" + s.id
	a := l.agent(t, "acme")
	id := s.approved(o, a)
	hook := o.ask("POST", at+"/webhooks", map[string]any{"url": "https://example.com/"}).want(201).text("id")
	o.refused(409, domain.CodeConflict, "POST", at+"/webhooks", map[string]any{"url": "https://example.com/"})
	o.refused(409, domain.CodeConflict, "POST", at+"/keys", nil)
	o.refused(409, domain.CodeConflict, "POST", "/v1/services", map[string]any{"slug": "news", "name": "n"})
	o.key("read")
	o.refused(409, domain.CodeConflict, "POST", "/v1/api-keys", map[string]any{"name": "k", "permissions": []string{"read"}})

	o.ask("PATCH", at, map[string]any{"name": "The weather"}).want(200)
	if r := o.ask("PATCH", at, map[string]any{"description": "of tomorrow"}).want(200); r.text("name") != "The weather" || r.text("description") != "of tomorrow" {
		t.Errorf("changed to %s", r.body)
	}
	o.ask("DELETE", at, nil).want(200)
	for _, gone := range []string{"GET " + at, "PATCH " + at, "DELETE " + at, "GET " + at + "/keys", "GET " + at + "/webhooks", "GET " + at + "/webhooks/" + hook} {
		method, target, _ := strings.Cut(gone, " ")
		o.refused(404, domain.CodeNotFound, method, target, bodyOf(method+" /v1/services/x"))
	}
	n.refuse(t, 401, domain.CodeSignatureInvalid, "GET", "/v1/namespaces/claims", nil, bearer(s.key), signedBy(a.Signer))
	if got := verdict(n.verify(a, "&service=weather")); got != "service_deleted" {
		t.Errorf("verify says %s", got)
	}
	again := o.service("weather")
	if again.id == s.id {
		t.Error("the id of a service came back")
	}
	o.decide(id, "revoke", nil).want(200) // claims on it can still be ended
	if list := o.ask("GET", "/v1/services", nil); !slices.Equal([]any{list.at("services.0.id"), list.at("services.1")}, []any{again.id, nil}) {
		t.Errorf("listed are %s", list.body)
	}
}

// Of several credentials of a kind none is the one that counts: whatever is between might
// have looked at another.
func TestCredentialsTwice(t *testing.T) {
	n := newLedger(t).start()
	o := n.owner(t, "acme")
	manager := o.ask("POST", "/v1/api-keys", map[string]any{"name": "reads", "permissions": []string{"read"}}).want(201).text("rawKey")
	add := func(name, value string) option {
		return func(_ *testing.T, s *sending) { s.Header.Add(name, value) }
	}
	for header, good := range map[string]string{"Authorization": "Bearer " + o.session, "X-Sigma-ApiKey": manager} {
		n.send(t, "GET", "/v1/services", nil, add(header, good)).want(200)
		for _, both := range [][]string{{good, "Bearer x"}, {"x", good}, {good, good}} {
			n.send(t, "GET", "/v1/services", nil, add(header, both[0]), add(header, both[1])).want(401, domain.CodeUnauthorized)
		}
	}
}

// Any 32 bytes can be an agent's name, those included that could not sign.
func TestAgentsThatCannotSign(t *testing.T) {
	n := newLedger(t).start()
	s := n.owner(t, "acme").service("weather")
	signer := n.agent(t, "acme")
	for _, b := range []byte{0, 1, 0xff} {
		key := httpsig.FormatKey(bytes.Repeat([]byte{b}, 32))
		body := map[string]any{
			"namespace": "acme", "public_key": key, "service": "weather", "agent_ip": "203.0.113.45", "nonce": fmt.Sprint("nonce-number-", b),
		}
		n.send(t, "POST", "/v1/claims", body, bearer(s.key), signedBy(signer.Signer), set("X-Sigilum-Claim-Binding", "namespace-only")).want(201)
		r := n.send(t, "GET", "/v1/verify?namespace=acme&service=weather&public_key="+escape(key), nil, signedBy(signer.Signer)).want(200)
		if r.text("reason") != "pending" {
			t.Errorf("verify: %s", r.body)
		}
	}
}
