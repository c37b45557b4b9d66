package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain/signature"
)

// quietHooks is how many webhooks a key rotation has to do with beside those that are
// called: enough for a command to be killed in the middle.
const quietHooks = 60

// keysApart is a ledger whose processes have a copy of the secret key file each.
type keysApart struct {
	*external
	*tenant
	keys     *secretKeyTest
	path     string            // the operator's file
	copies   map[string]string // by machine
	up       map[string]*process
	at       map[string]string
	receiver *hooks
	former   string // the secret that the receiver's webhook had
	claims   []string
}

var machines = map[string]string{"api": roleAPI, "projector": roleProjector, "relay-1": roleRelay, "relay-2": roleRelay}

func newKeysApart(t *testing.T) *keysApart {
	e := newExternal(t)
	e.setup()
	k := &keysApart{external: e, path: filepath.Join(e.dir, "secret.key"), copies: map[string]string{}, up: map[string]*process{}, at: map[string]string{}}
	k.keys = newSecretKeyTest(t, append(e.place(), "--secret-key-file", k.path)...)
	for machine := range machines {
		k.copies[machine], k.at[machine] = filepath.Join(t.TempDir(), "secret.key"), freeAddress(t)
		k.copy(machine)
		k.start(machine)
	}
	for machine := range machines {
		newClient(t, k.at[machine]).awaitStatus("ready")
	}
	k.tenant = newTenant(t, newClient(t, k.at["api"]), "acme", e.place()...)
	k.receiver = newHooks(t)
	k.former = k.receiver.secret
	var made, rotated struct{ ID, Secret string }
	hook := map[string]any{"url": k.receiver.url, "secret": k.receiver.secret, "auth_header": "Authorization", "auth_value": "Bearer kept"}
	k.expect(201, "POST", k.hooksPath(), hook, k.asOwner).decode(t, &made)
	k.expect(200, "POST", k.hooksPath()+"/"+made.ID+"/rotate-secret", nil, k.asOwner).decode(t, &rotated)
	k.receiver.takeSecret(rotated.Secret)
	for range quietHooks {
		k.expect(201, "POST", k.hooksPath(), quietHook, k.asOwner)
	}
	return k
}

var quietHook = map[string]any{"url": "https://quiet.example/", "events": []string{"request.expired"}}

func (k *keysApart) hooksPath() string { return "/v1/services/" + k.service + "/webhooks" }

// copy brings a machine's file up to date, as the operator does.
func (k *keysApart) copy(machine string) {
	t := k.keys.t
	t.Helper()
	k.keys.file(k.path)
	text, err := os.ReadFile(k.path)
	if err == nil {
		err = os.WriteFile(k.copies[machine]+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(k.copies[machine]+".new", k.copies[machine])
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (k *keysApart) start(machine string) {
	flags := append(k.flags(machines[machine], k.at[machine]), "--secret-key-file", k.copies[machine], "--max-webhooks", fmt.Sprint(quietHooks+20), "--log-level", "debug")
	k.up[machine] = serve(k.external.t, flags...)
}

// submit makes a claim whose event must come signed, sooner or later.
func (k *keysApart) submit() {
	id, _ := k.mustSubmit()
	k.claims = append(k.claims, id)
}

func (k *keysApart) delivered() {
	k.keys.t.Helper()
	k.submit()
	k.receiver.await(patience, "request.submitted", k.claims)
	header := k.receiver.last(1)[0]
	if got := header.Get("Authorization"); got != "Bearer kept" {
		k.keys.t.Errorf("the owner's header is %q", got)
	}
	k.receiver.mu.Lock()
	body := []byte(k.receiver.received[header.Get("Webhook-Id")].body)
	k.receiver.mu.Unlock()
	if err := signature.Verify(header, body, []string{k.former}, time.Now(), signature.DefaultTolerance); err != nil {
		k.keys.t.Errorf("the former secret: %v", err)
	}
}

// killedInTheMiddle kills the command that seals again when the relay has heard of the
// first webhook, and reports whether some were left.
func (k *keysApart) killedInTheMiddle(keyID string) bool {
	t := k.keys.t
	t.Helper()
	db, err := pgx.Connect(t.Context(), k.database.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	p := launch(t, beLedger, nil, append([]string{"secret-key", "reseal"}, k.keys.flags...)...)
	for resealed := 0; resealed == 0 && p.alive(); {
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM webhookrelay.webhooks WHERE secret_key_id = $1", keyID).Scan(&resealed); err != nil {
			t.Fatal(err)
		}
	}
	k.submit()
	p.kill()
	k.keys.hides(p.out.String() + p.log.String())
	inForce, _ := k.keys.list()
	return inForce[keyID] > 0 && len(k.lagging(inForce, keyID)) > 0
}

// lagging are the keys other than one that something in force needs.
func (k *keysApart) lagging(inForce map[string]int, keyID string) (ids []string) {
	for id, n := range inForce {
		if id != keyID && n > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// A key is replaced machine by machine while events go out, each signed with the secrets
// that there were before.
func TestSecretKeysOnMachines(t *testing.T) {
	t.Parallel()
	k := newKeysApart(t)
	k.delivered()
	_, old := k.keys.list()
	var key string
	for tries := 0; ; tries++ {
		key = k.keys.json("add").KeyID
		k.copy("relay-1") // the others are forgotten
		k.delivered()
		k.keys.json("activate", key)
		k.delivered()
		if k.killedInTheMiddle(key) {
			break
		}
		if tries == 3 {
			t.Fatal("the command was never in the middle when it was killed")
		}
	}
	k.delivered()
	aged(t, k.path)
	k.keys.run(exitFailure, "retire", old) // it is in force
	k.keys.json("reseal")
	k.delivered() // by the one relay that has the key
	// The api's file is behind: it does not seal any more with what may be retired.
	eventually(t, patience, func() error {
		r := k.expectAny("POST", k.hooksPath(), quietHook)
		if r.status != 503 || r.code != "SERVICE_UNAVAILABLE" {
			return fmt.Errorf("a webhook made with an old key: %s", r)
		}
		return nil
	})
	for machine := range machines {
		k.copy(machine)
	}
	k.expect(201, "POST", k.hooksPath(), quietHook, k.asOwner)
	k.keys.json("reseal") // what the api sealed before it knew
	k.delivered()
	inForce, _ := k.keys.list()
	aged(t, k.path)
	for id := range inForce {
		if id != key {
			k.keys.json("retire", id)
		}
	}
	for machine := range machines {
		k.copy(machine)
	}
	k.delivered()
	for machine := range machines { // all of them start with what is left
		k.up[machine].stop()
		k.keys.hides(k.up[machine].log.String())
		k.start(machine)
	}
	for machine := range machines {
		newClient(t, k.at[machine]).awaitStatus("ready")
	}
	k.delivered()
	if events, _ := k.receiver.check(); events != len(k.claims) {
		t.Errorf("%d events came for %d claims", events, len(k.claims))
	}
}

func (k *keysApart) expectAny(method, path string, body any) *response {
	t := k.keys.t
	t.Helper()
	r, err := k.send(method, path, body, k.asOwner)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
