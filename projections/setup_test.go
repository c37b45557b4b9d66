package projections

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections/pgserver/pgtest"
)

func TestSetupInManyProcesses(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	var all sync.WaitGroup
	for range 4 {
		pool := openPool(t, url)
		all.Go(func() {
			for range 2 {
				if err := Setup(t.Context(), pool); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var generations int
	if err := openPool(t, url).QueryRow(t.Context(), "SELECT count(*) FROM projections.generations").Scan(&generations); err != nil || generations != len(Models()) {
		t.Errorf("%d generations, %v", generations, err)
	}
}

// TestSetupLeavesOthersAlone: neither another version that serves, nor a schema that is
// left over, is touched.
func TestSetupLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgtest.New(t))
	ctx := t.Context()
	for _, sql := range []string{"CREATE SCHEMA model_feed_v1_g1", "CREATE TABLE model_feed_v1_g1.mine ()"} {
		if _, err := pool.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := Setup(ctx, pool); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, "UPDATE projections.generations SET version = 2 WHERE model = 'claims'"); err != nil {
		t.Fatal(err)
	}
	if err := Setup(ctx, pool); err != nil {
		t.Fatal(err)
	}
	var schemas string
	err := pool.QueryRow(ctx, `SELECT string_agg(schema_name, ' ' ORDER BY schema_name) FROM projections.generations`).Scan(&schemas)
	if want := "model_chain_v1_g1 model_claims_v1_g1 model_feed_v1_g2 model_history_v1_g1 model_namespaces_v1_g1 model_services_v1_g1"; err != nil || schemas != want {
		t.Errorf("%s, %v", schemas, err)
	}
}

// TestSecretFields looks at every payload: what holds a hash or a sealed secret is left
// out of the history.
func TestSecretFields(t *testing.T) {
	var found []string
	for typ, versions := range domain.EventTypes() {
		for _, version := range versions {
			var e domain.Event
			if err := json.Unmarshal(fmt.Appendf(nil, `{"type":%q,"version":%d,"data":{}}`, typ, version), &e); err != nil {
				t.Fatal(err)
			}
			payload := reflect.TypeOf(e.Payload)
			for i := range payload.NumField() {
				f := payload.Field(i)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				switch f.Type {
				case reflect.TypeFor[domain.Hash](), reflect.TypeFor[domain.Sealed](), reflect.TypeFor[*domain.Sealed](), reflect.TypeFor[[]domain.FormerSecret]():
					found = append(found, name)
				}
			}
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(slices.Values(secretFields)); !slices.Equal(slices.Compact(found), want) {
		t.Errorf("%q, and secretFields are %q", found, want)
	}
}

// TestNoSecrets searches all tables for what must not be there.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 30)
	w.steps(40)
	s := w.services[0]
	key, token, sealed := w.hash(), w.hash(), domain.Sealed{KeyID: "k", Data: []byte("sealed-up")}
	resealed := domain.Sealed{KeyID: "l", Data: []byte("sealed-up-again")}
	w.registry(s.namespace, domain.IssueLoginToken{Token: domain.LoginToken{Hash: token, ExpiresAt: w.now}})
	w.registry(s.namespace, domain.CreateServiceKey{KeyID: "k1", ServiceID: s.service, Name: "kept", Hash: key})
	w.registry(s.namespace, domain.CreateManagementKey{KeyID: "m1", Name: "kept", Hash: key,
		Permissions: domain.Permissions, Grantor: domain.Permissions})
	w.registry(s.namespace, domain.CreateWebhook{WebhookCreated: domain.WebhookCreated{WebhookID: "h1", ServiceID: s.service,
		URL: "https://kept.example", Secret: sealed, AuthHeader: "X-Kept", AuthValue: &sealed}})
	w.registry(s.namespace, domain.RotateWebhookSecret{WebhookID: "h1", ServiceID: s.service, Secret: domain.Sealed{KeyID: "k", Data: []byte("sealed-next")}})
	w.registry(s.namespace, domain.ResealWebhook{WebhookID: "h1", ServiceID: s.service, Resealed: []domain.Resealed{{From: sealed, To: resealed}}})
	pool := newPool(t)
	catchUp(t, w.log, pool)
	all := dump(t, pool)
	for _, secret := range []string{key.String(), token.String(), base64.StdEncoding.EncodeToString(sealed.Data), base64.StdEncoding.EncodeToString(resealed.Data), "token_hash", "key_hash", "auth_value", "former_secrets"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is in a table", secret)
		}
	}
	for _, kept := range []string{"https://kept.example", "X-Kept", "webhook.resealed", `""name"":""kept""`} {
		if !strings.Contains(all, kept) {
			t.Errorf("%s is in no table", kept)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 31)
	w.steps(40)
	pool := newPool(t)
	ps := NewProjectors(w.log, pool, nil)
	stop := run(ps)
	waitForAll(t, newReader(t, pool), w.last())
	eventually(t, "the status follows", func() bool { return ps.Status()[0].Applied == w.last() })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewMetrics(ps))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 5*len(Models()) {
		t.Errorf("%d series, %v", n, err)
	}
	stop()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if name := family.GetName(); strings.HasSuffix(name, "_total") && m.GetCounter().GetValue() != float64(w.last()) {
				t.Errorf("%v", m)
			}
		}
	}
}
