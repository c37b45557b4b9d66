package api

import (
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/claimledger/claimledger/domain"
)

// challengeLifetime is how long an authenticator's answer is waited for: enough to look
// for a phone, or to enroll a finger.
const challengeLifetime = 5 * time.Minute

// purpose is what a challenge is answered for. One that was asked for one purpose is
// no good for another.
type purpose string

const (
	toAddPasskey purpose = "passkey.add"
	toSignIn     purpose = "passkey.sign_in"
	toSignUp     purpose = "passkey.sign_up"
)

// challenge is what an authenticator is asked to sign, and for whom.
type challenge struct {
	Purpose   purpose `json:"purpose"`
	Text      string  `json:"challenge"` // base64url, as the authenticator signs it
	Namespace string  `json:"ns,omitempty"`
	OwnerID   string  `json:"owner,omitempty"`
	jwt.RegisteredClaims
}

// recorded is the challenge as the ledger remembers it.
func (c *challenge) recorded() domain.Challenge {
	return domain.Challenge{Hash: domain.HashOf([]byte(c.Text)), ExpiresAt: c.ExpiresAt.Time}
}

// challengeAudience keeps tokens of challenges apart from those of sessions, which have
// the same key and no audience.
const challengeAudience = "passkeys"

// issueChallenge signs a challenge, so that no node needs to remember it: any of them
// can tell that one of them has asked. That it is answered once is for the log to know.
func (s *sessions) issueChallenge(c challenge) (token string, expires time.Time, err error) {
	expires = s.now().UTC().Add(challengeLifetime).Truncate(time.Second)
	c.RegisteredClaims = jwt.RegisteredClaims{
		Issuer: s.issuer, Audience: jwt.ClaimStrings{challengeAudience}, ExpiresAt: jwt.NewNumericDate(expires),
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.key)
	return token, expires, err
}

// checkChallenge reads a challenge that a node of this ledger asked for this purpose,
// not too long ago.
func (s *sessions) checkChallenge(token string, p purpose) (*challenge, bool) {
	var c challenge
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(s.issuer), jwt.WithAudience(challengeAudience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.now))
	return &c, err == nil && c.Purpose == p && c.Text != ""
}
