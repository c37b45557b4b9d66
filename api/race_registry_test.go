package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/claimledger/claimledger/domain"
)

// change is an owner's command on something other than a claim.
func (l *lane) change(method, target string, body any, cmd domain.RegistryCommand) runner {
	return runner{other: cmd, send: func(at *node, as option) *reply { return at.send(l.t, method, target, body, as) }}
}

// Two services of one name are made, while the one that has the name goes or stays.
func theSameSlug(l *lane) func(int) {
	var held string // the id of the service that has the name
	return func(i int) {
		slug := "name"
		if i%2 == 0 {
			slug = fmt.Sprint("name-", i)
		}
		create := func() runner {
			cmd := domain.CreateService{ServiceID: newID(), Slug: slug, Name: slug}
			return l.change("POST", "/v1/services", map[string]any{"slug": slug, "name": slug}, cmd)
		}
		runners := []runner{create(), create()}
		if held != "" && slug == "name" {
			runners = append(runners, l.change("DELETE", "/v1/services/"+held, nil, domain.DeleteService{ServiceID: held}))
		}
		gone := len(runners) == 3
		if gone {
			held = ""
		}
		made := 0
		for _, r := range l.run(i, runners...) {
			if r.status == 201 {
				made++
				if slug == "name" {
					held = r.text("id")
				}
			}
		}
		if made > 1 || made == 0 && !gone {
			l.t.Errorf("%d services of one name were made", made)
		}
	}
}

// Webhooks are made while there is room for one or for none, and one is deleted.
func pastTheWebhookLimit(l *lane) func(int) {
	limit := domain.DefaultOwnerLimits().WebhooksPerService
	s := l.service("weather")
	target, body := "/v1/services/"+s.id+"/webhooks", map[string]any{"url": "https://example.com/hook"}
	var hooks []string
	for len(hooks) < limit-1 {
		hooks = append(hooks, l.ask("POST", target, body).want(201).text("id"))
	}
	create := func() runner {
		return l.change("POST", target, body, domain.CreateWebhook{WebhookCreated: domain.WebhookCreated{WebhookID: newID(), ServiceID: s.id}})
	}
	return func(i int) {
		runners := []runner{create(), create()}
		if i%2 == 1 || len(hooks) == limit {
			runners = append(runners, l.change("DELETE", target+"/"+hooks[0], nil, domain.DeleteWebhook{WebhookID: hooks[0], ServiceID: s.id}))
			hooks = hooks[1:]
		}
		for _, r := range l.run(i, runners...) {
			if r.status == 201 {
				hooks = append(hooks, r.text("id"))
			}
		}
		if len(hooks) > limit {
			l.t.Errorf("there are %d webhooks", len(hooks))
		}
	}
}

// anyPosition reads what the node knows, be it as old as may be.
var anyPosition = set("Ledger-Min-Position", "")

// A key is taken away while it is used at both nodes: whoever uses it is told either what
// he would have been before or that it is none, and once that is answered the node knows.
func aRevokedServiceKey(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 1000})
	s := l.service("weather")
	known := l.agent(l.t, l.namespace)
	s.approved(l.owner, known)
	keys := "/v1/services/" + s.id + "/keys"
	return func(i int) {
		key := l.ask("POST", keys, nil).want(201)
		mine := *s
		mine.key = key.text("key")
		end := command{"DELETE", keys + "/" + key.text("id"), nil}
		if i%2 == 0 {
			end = command{"POST", end.target + "/deactivate", nil}
		}
		agents, bodies := map[*node]*agent{}, map[*node]any{}
		for _, at := range l.nodes {
			agents[at] = l.agent(l.t, l.namespace)
			bodies[at] = mine.claim(agents[at])
		}
		uses := []use{
			func(at *node, _ option) *reply { return at.verify(known, "", bearer(mine.key), anyPosition) },
			func(at *node, once option) *reply {
				return at.send(l.t, "POST", "/v1/claims", bodies[at], bearer(mine.key), signedBy(agents[at].Signer), once)
			},
		}
		l.ending(i, end, uses, []string{"200", "201"}, []string{"401 UNAUTHORIZED", "401 SIGNATURE_INVALID"})
	}
}

// The same for a management key, which acts on claims and on the rest.
func aRevokedManagementKey(l *lane) func(int) {
	l.policy(map[string]any{"max_pending": 1000})
	s := l.service("weather")
	ids := s.seed(2 * raceRounds)
	return func(i int) {
		show, id := l.key("read", "update-data", "update-model")
		end := command{"DELETE", "/v1/api-keys/" + id, nil}
		if i%2 == 0 {
			end = command{"POST", end.target + "/deactivate", nil}
		}
		claims := ids[2*i : 2*i+2]
		uses := []use{
			func(at *node, once option) *reply {
				claim := claims[0]
				if at == l.nodes[1] {
					claim = claims[1]
				}
				return at.send(l.t, "POST", "/v1/claims/"+claim+"/approve", nil, show, once)
			},
			func(at *node, once option) *reply {
				return at.send(l.t, "PATCH", "/v1/services/"+s.id, map[string]any{"description": fmt.Sprint(i)}, show, once)
			},
		}
		refused := "401 UNAUTHORIZED"
		l.ending(i, end, uses, []string{"200", "200"}, []string{refused, refused})
	}
}

// use is what a key is used for.
type use func(at *node, once option) *reply

// insist uses a key until that is decided: a node that looks for the key at the log's end
// turns its caller away when that takes too long. Once is for a command whose outcome was
// not known.
func insist(t *testing.T, u use, at *node) *reply {
	once := idempotent(newID())
	for {
		if r := u(at, once); r.status != http.StatusServiceUnavailable || t.Context().Err() != nil {
			return r
		}
	}
}

// ending takes a key away at one node, by turns, while it is used at both.
func (l *lane) ending(turn int, end command, uses []use, accepted, refused []string) {
	l.t.Helper()
	here, there := l.nodes[turn%2], l.nodes[(turn+1)%2]
	l.read()
	got := together(1+2*len(uses), func(i int) *reply {
		if i == 0 {
			return l.on(here).ask(end.method, end.target, end.body)
		}
		return insist(l.t, uses[(i-1)/2], l.nodes[i%2])
	})
	gone := got[0].want(200)
	appended := 1
	for i, r := range got[1:] {
		switch as := statusAndCode(r); as {
		case accepted[i/2]:
			if r.position() > 0 && r.what[:4] != "GET " {
				appended++
			}
		case refused[i/2]:
		default:
			l.t.Errorf("%s: %s", r.what, as)
		}
	}
	if n := l.read(); n != appended {
		l.t.Errorf("%s: %d commits of %d that succeeded", l.namespace, n, appended)
	}
	i := turn % len(uses)
	if got := statusAndCode(insist(l.t, uses[i], here)); got != refused[i] {
		l.t.Errorf("at the node that took the key away: %s", got)
	}
	// A node learns of it as it follows the log.
	eventually(l.t, "the other node to know", func() bool { return there.x.Position() >= gone.position() })
	if got := statusAndCode(insist(l.t, uses[i], there)); got != refused[i] {
		l.t.Errorf("at the other node, which knows: %s", got)
	}
	if n := l.read(); n != 0 {
		l.t.Errorf("%s: %d commits with a key that is none", l.namespace, n)
	}
}
