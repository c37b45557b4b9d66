package api

import (
	"maps"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/claimledger/claimledger/domain"
)

// Endpoint is one row of the API, for whoever describes it.
type Endpoint struct {
	Method, Path string
	Who          string            // a key of Credentials
	Permission   domain.Permission // that a management key needs; empty: none
}

// Credentials are what each kind of caller has to show: alternatives, of which one is
// enough, and what belongs together within each.
var Credentials = map[string][][]string{
	"anyone":        {},
	"signed":        {{"signedHeaders"}},
	"signedService": {{"signedHeaders", "serviceKey"}},
	"signedMaybe":   {{"signedHeaders", "serviceKey"}, {"signedHeaders"}},
	"owner":         {{"managementKey"}, {"sessionToken"}, {"sessionCookie"}},
	"session":       {{"sessionToken"}, {"sessionCookie"}},
}

var callers = map[authentication]string{
	anyone: "anyone", signed: "signed", signedService: "signedService", signedMaybe: "signedMaybe", asOwner: "owner", inSession: "session",
}

// Endpoints lists what Routes adds to a router.
func Endpoints() []Endpoint {
	rows := []Endpoint{{http.MethodGet, loginPath, callers[anyone], ""}}
	for _, e := range new(Server).endpoints() {
		rows = append(rows, Endpoint{e.method, e.path, callers[e.who], e.permission})
	}
	return rows
}

// Routes lists what a router leads to, as "GET /v1/claims/{claim}".
func (r *Router) Routes() (routes []string) {
	_ = r.mux.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		methods, err2 := route.GetMethods()
		for _, method := range methods {
			if err == nil && err2 == nil && method != http.MethodHead { // it goes where GET goes
				routes = append(routes, method+" "+path)
			}
		}
		return nil
	})
	return routes
}

// Statuses tells which status each code has.
func Statuses() map[domain.Code]int { return maps.Clone(statuses) }
