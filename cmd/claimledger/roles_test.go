package main

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// demoPasses checks what a demo that went well prints.
func demoPasses(t testing.TB, out string) {
	t.Helper()
	if n := strings.Count(out, "signatures verified"); n != 3 || !strings.Contains(out, "Done: ") {
		t.Errorf("the demo verified %d webhooks:\n%s", n, out)
	}
}

// apart is a ledger of three processes, with a namespace whose claims and webhooks are
// counted.
type apart struct {
	*external
	*tenant
	at       map[string]string // address by role
	up       map[string]*process
	receiver *hooks
	claims   []string
}

func (a *apart) start(role string) {
	a.tenant.t.Helper()
	a.up[role] = a.role(role, a.at[role])
}

func (a *apart) ready(role string) *client { return newClient(a.external.t, a.at[role]) }

// submit makes a claim that must be found everywhere in the end.
func (a *apart) submit() (position uint64) {
	a.tenant.t.Helper()
	id, position := a.mustSubmit()
	a.claims = append(a.claims, id)
	return position
}

// shows waits until the read model and the receiver have everything.
func (a *apart) shows(position uint64) {
	t := a.tenant.t
	t.Helper()
	a.receiver.await(patience, "request.submitted", a.claims)
	var all []string
	for _, claim := range a.list(position) {
		all = append(all, claim.ClaimID)
	}
	want := slices.Sorted(slices.Values(a.claims))
	if slices.Sort(all); !slices.Equal(all, want) {
		t.Errorf("the list has %v, not %v", all, want)
	}
}

var roles = []string{roleAPI, roleProjector, roleRelay}

func TestRolesInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	e := newExternal(t)
	e.setup()
	if out := e.setup(); !strings.Contains(out, "streams are ready") {
		t.Errorf("a second setup said %q", out)
	}
	a := &apart{external: e, tenant: &tenant{client: &client{t: t}}, at: map[string]string{}, up: map[string]*process{}}
	for _, role := range roles {
		a.at[role] = freeAddress(t)
		a.start(role)
	}
	for _, role := range roles {
		a.ready(role).awaitStatus("ready")
	}
	demoPasses(t, must(t, append([]string{"demo", "--listen", a.at[roleAPI]}, e.place()...)...))

	a.tenant, a.receiver = newTenant(t, a.ready(roleAPI), "acme", e.place()...), newHooks(t)
	a.webhook(a.receiver, nil)
	a.expect(200, "GET", "/v1/services/"+a.service+"/webhooks", nil, a.asOwner)
	a.shows(a.submit())
	for _, f := range []func(*testing.T){a.withoutProjector, a.withoutRelay, a.withoutAPI, a.withoutNATS, a.withoutPostgres, a.inAnyOrder} {
		f(t)
	}
	if events, _ := a.receiver.check(); events != len(a.claims) {
		t.Errorf("%d events were delivered for %d claims", events, len(a.claims))
	}
}

// Commands go on without a projector, and reads say that they are behind.
func (a *apart) withoutProjector(t *testing.T) {
	a.up[roleProjector].stop()
	position := a.submit()
	r := a.expect(503, "GET", "/v1/namespaces/acme/claims", nil, a.asOwner, after(position))
	if r.code != "STALE_READ" || r.header.Get("Retry-After") == "" {
		t.Errorf("a read of a position that no projector reached answers %s %v", r, r.header)
	}
	a.expect(200, "GET", "/v1/namespaces/acme/claims", nil, a.asOwner)
	ready := a.awaitStatus("degraded")
	if check := ready.Checks["read models"]; check.Vital || check.Status == "ok" {
		t.Errorf("the api's readiness without a projector is %+v", ready)
	}
	a.start(roleProjector)
	a.awaitStatus("ready")
	a.shows(position)
}

func (a *apart) withoutRelay(*testing.T) {
	a.up[roleRelay].kill()
	position := a.submit()
	a.start(roleRelay)
	a.shows(position)
}

func (a *apart) withoutAPI(*testing.T) {
	a.up[roleAPI].kill()
	a.start(roleAPI)
	a.shows(a.submit())
}

// Reads go on without NATS, and commands say that nothing was recorded.
func (a *apart) withoutNATS(t *testing.T) {
	a.killNATS()
	r, _, err := a.tenant.submit(newAgent())
	if err != nil || r.status != 503 || r.code != "SERVICE_UNAVAILABLE" {
		t.Errorf("a submit without NATS answers %v, %v", r, err)
	}
	a.expect(200, "GET", "/v1/namespaces/acme/claims", nil, a.asOwner)
	for _, role := range roles {
		a.ready(role).awaitStatus("unready")
	}
	if r := run(t, "status", "--listen", a.at[roleAPI]); r.code != exitFailure || !strings.HasPrefix(r.out, "unready\n") || !strings.Contains(r.err, "not ready") {
		t.Errorf("status without NATS ended with %d: %s%s", r.code, r.out, r.err)
	}
	a.startNATS()
	for _, role := range roles {
		a.ready(role).awaitStatus("ready")
	}
	a.shows(a.submit())
}

// Commands go on without PostgreSQL.
func (a *apart) withoutPostgres(t *testing.T) {
	if err := a.database.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	position := a.submit()
	if r := a.expect(503, "GET", "/v1/namespaces/acme/claims", nil, a.asOwner); r.code != "SERVICE_UNAVAILABLE" {
		t.Errorf("a read without PostgreSQL answers %s", r)
	}
	a.awaitStatus("degraded")
	a.ready(roleProjector).awaitStatus("unready")
	a.ready(roleRelay).awaitStatus("unready")
	a.restartDatabase()
	for _, role := range roles {
		a.ready(role).awaitStatus("ready")
	}
	a.shows(position)
}

// Processes may start before what they need. They say that they are alive, and not
// ready.
func (a *apart) inAnyOrder(t *testing.T) {
	for _, role := range roles {
		a.up[role].stop()
	}
	a.nodes[0].stop()
	if err := a.database.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{roleRelay, roleAPI, roleProjector} {
		a.up[role] = launch(t, beLedger, nil, append([]string{"serve"}, a.flags(role, a.at[role])...)...)
		c := a.ready(role)
		c.awaitStatus("unready")
		c.expect(200, "GET", "/health", nil)
	}
	if r := a.expect(503, "GET", "/v1/auth/me", nil, a.asOwner); r.code != "SERVICE_UNAVAILABLE" {
		t.Errorf("a request to an api that starts answers %s", r)
	}
	a.startNATS()
	a.ready(roleRelay).awaitStatus("unready")
	a.awaitStatus("degraded")
	position := a.submit()
	a.restartDatabase()
	for _, role := range roles {
		a.ready(role).awaitStatus("ready")
	}
	a.shows(position)
	a.ended(t)
}

// ended stops everything while all is well.
func (a *apart) ended(*testing.T) {
	for _, role := range []string{roleProjector, roleAPI, roleRelay} {
		a.up[role].stop()
	}
}
