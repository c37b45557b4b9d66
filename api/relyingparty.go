package api

import (
	"encoding/hex"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/claimledger/claimledger/domain"
)

// relyingParty is this ledger as authenticators know it (Web Authentication, level 3).
// Its id and origin follow from the public URL alone, never from a request.
type relyingParty struct{ *webauthn.WebAuthn }

// TakesPasskeys reports whether there can be passkeys at a URL.
func TakesPasskeys(public *url.URL) bool { return newRelyingParty(public) != nil }

// newRelyingParty makes a relyingParty, nil where there are no passkeys at the URL: browsers
// want a name of a domain for the host, and https unless it is this very machine.
func newRelyingParty(public *url.URL) *relyingParty {
	host := strings.ToLower(public.Hostname())
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if host == "" || net.ParseIP(host) != nil || public.Scheme != "https" && !local {
		return nil
	}
	required, timeout := true, webauthn.TimeoutConfig{Timeout: challengeLifetime}
	w, err := webauthn.New(&webauthn.Config{
		RPID: host, RPDisplayName: "claimledger", RPOrigins: []string{public.Scheme + "://" + public.Host},
		// Any make of authenticator will do, so none has to prove which it is.
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			RequireResidentKey: &required, ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Some password managers tell more than they were asked.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil // a name such as an intranet's, which is no domain's
	}
	return &relyingParty{w}
}

// algorithms are those that every authenticator in use has one of.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// holder is an owner as the library wants to see him. Authenticators keep his id, which
// says nothing about anybody, and show the namespace.
type holder struct {
	ownerID, namespace string
	passkeys           []domain.Passkey
}

func (h holder) WebAuthnID() []byte          { return []byte(h.ownerID) }
func (h holder) WebAuthnName() string        { return h.namespace }
func (h holder) WebAuthnDisplayName() string { return h.namespace }

func (h holder) WebAuthnCredentials() []webauthn.Credential {
	list := make([]webauthn.Credential, len(h.passkeys))
	for i, k := range h.passkeys {
		list[i] = webauthn.Credential{
			ID: k.CredentialID, PublicKey: k.PublicKey,
			Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: k.BackupEligible, BackupState: k.BackedUp},
			Authenticator: webauthn.Authenticator{SignCount: k.SignCount},
		}
		for _, t := range k.Transports {
			list[i].Transport = append(list[i].Transport, protocol.AuthenticatorTransport(t))
		}
	}
	return list
}

// passkey is the holder's passkey with an id that an authenticator knows it by.
func (h holder) passkey(credentialID []byte) (domain.Passkey, bool) {
	i := slices.IndexFunc(h.passkeys, func(k domain.Passkey) bool { return string(k.CredentialID) == string(credentialID) })
	if i < 0 {
		return domain.Passkey{}, false
	}
	return h.passkeys[i], true
}

// creation are the options with which a browser makes a passkey for an owner, on an
// authenticator that has none of his yet.
func (rp *relyingParty) creation(h holder) (*protocol.PublicKeyCredentialCreationOptions, error) {
	var have []protocol.CredentialDescriptor
	for _, c := range h.WebAuthnCredentials() {
		have = append(have, c.Descriptor())
	}
	options, _, err := rp.BeginRegistration(h, webauthn.WithExclusions(have), webauthn.WithCredentialParameters(algorithms))
	if err != nil {
		return nil, err
	}
	return &options.Response, nil
}

// request are the options with which a browser signs in whoever has a passkey here.
func (rp *relyingParty) request() (*protocol.PublicKeyCredentialRequestOptions, error) {
	options, _, err := rp.BeginDiscoverableLogin()
	if err != nil {
		return nil, err
	}
	return &options.Response, nil
}

// session is what the library would have remembered of a challenge. That it is answered
// in time was checked with its token.
func (rp *relyingParty) session(c *challenge) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge: c.Text, RelyingPartyID: rp.Config.RPID, UserID: []byte(c.OwnerID),
		UserVerification: protocol.VerificationRequired, CredParams: algorithms,
	}
}

// created checks that a new passkey answers the challenge.
func (rp *relyingParty) created(h holder, c *challenge, answer *protocol.ParsedCredentialCreationData) (domain.Credential, error) {
	made, err := rp.CreateCredential(h, rp.session(c), answer)
	if err != nil {
		return domain.Credential{}, &domain.Error{
			Code: domain.CodeInvalidRequest, Message: "The passkey was not accepted.", Err: err,
			Details: []domain.FieldError{{Field: "credential", Message: "must answer the challenge on this site's own page, with the person verified"}},
		}
	}
	credential := domain.Credential{
		ID: made.ID, PublicKey: made.PublicKey, SignCount: made.Authenticator.SignCount,
		BackupEligible: made.Flags.BackupEligible, BackedUp: made.Flags.BackupState, AAGUID: aaguid(made.Authenticator.AAGUID),
	}
	for _, t := range made.Transport {
		credential.Transports = append(credential.Transports, string(t))
	}
	return credential, nil
}

// asserted checks that one of the holder's passkeys answers the challenge.
func (rp *relyingParty) asserted(h holder, c *challenge, answer *protocol.ParsedCredentialAssertionData) error {
	find := func(_, _ []byte) (webauthn.User, error) { return h, nil }
	_, _, err := rp.ValidatePasskeyLogin(find, rp.session(c), answer)
	return err
}

// aaguid writes a make of authenticator as a UUID; nothing where it does not tell.
func aaguid(b []byte) string {
	if len(b) != 16 || !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) {
		return ""
	}
	text := hex.EncodeToString(b)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

// optionsBody are options for a browser's navigator.credentials, in the form that its
// parseCreationOptionsFromJSON and parseRequestOptionsFromJSON take, and the token to
// send back with what comes of them.
type optionsBody struct {
	Token     string    `json:"token"`
	Options   any       `json:"options"`
	ExpiresAt time.Time `json:"expires_at"`
}
