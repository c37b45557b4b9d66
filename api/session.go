package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/claimledger/claimledger/domain"
)

const (
	sessionCookie = "sigilum_token"
	// SessionLifetime is how long an owner stays signed in: a working day.
	SessionLifetime = 12 * time.Hour
	// MinSessionKey is the least size of the key that signs sessions (RFC 7518, 3.2).
	MinSessionKey = 32
)

type sessionClaims struct {
	Namespace string `json:"ns"`
	jwt.RegisteredClaims
}

// sessions signs and checks the tokens of owners' sessions.
type sessions struct {
	key    []byte
	issuer string
	secure bool
	now    func() time.Time
}

func (s *sessions) issue(namespace, ownerID, sessionID string, expires time.Time) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, sessionClaims{
		Namespace: namespace,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Subject: ownerID, ID: sessionID,
			IssuedAt: jwt.NewNumericDate(s.now()), ExpiresAt: jwt.NewNumericDate(expires),
		},
	}).SignedString(s.key)
}

// check reads a token that this ledger signed and that is not past its time. Whether
// the session was ended is for the directory to say.
func (s *sessions) check(token string) (*sessionClaims, error) {
	var claims sessionClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(s.issuer),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.now))
	// A token with an audience is for something else.
	if err != nil || claims.ID == "" || claims.Subject == "" || len(claims.Audience) > 0 {
		return nil, errNotSignedIn
	}
	return &claims, nil
}

var errNotSignedIn = domain.Errorf(domain.CodeUnauthorized, "Sign in as an owner of the namespace, or send a management key in X-Sigma-ApiKey.")

func (s *sessions) cookie(token string, expires time.Time) *http.Cookie {
	c := &http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.secure,
	}
	if token == "" {
		c.MaxAge = -1
	}
	return c
}

// bearer is the token of an Authorization header, empty where there is none. The
// scheme's case does not matter (RFC 9110, 11.1).
func bearer(r *http.Request) string {
	credentials, _ := soleHeader(r, "Authorization")
	scheme, token, ok := strings.Cut(credentials, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
