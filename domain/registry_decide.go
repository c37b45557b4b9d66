package domain

import (
	"fmt"
	"slices"
	"time"
)

// OwnerLimits bound what one owner may have. The operator sets them.
type OwnerLimits struct {
	Services           int // services of a namespace
	KeysPerService     int // active keys of a service
	WebhooksPerService int
	ManagementKeys     int // active management keys of a namespace
}

// DefaultOwnerLimits are the limits where the operator sets none.
func DefaultOwnerLimits() OwnerLimits {
	return OwnerLimits{Services: 50, KeysPerService: 10, WebhooksPerService: 5, ManagementKeys: 50}
}

// RegistryCommand is a command on a registry boundary.
type RegistryCommand interface{ registryCommand() }

// Commands of the operator.
type (
	// RegisterNamespace begins a namespace, with an owner and his first login token.
	RegisterNamespace struct {
		OwnerID string
		Token   LoginToken
		Limits  *Limits // of its policy, to begin with; nil: the default ones
	}
	// IssueLoginToken makes another login token for an owner (empty: the first one).
	IssueLoginToken struct {
		OwnerID string
		Token   LoginToken
	}
	// DeactivateNamespace stops a namespace.
	DeactivateNamespace struct{ Reason string }
	// ActivateNamespace lets it go on.
	ActivateNamespace struct{ Reason string }
)

// LoginToken is a one-time login token, by its hash.
type LoginToken struct {
	Hash      Hash
	ExpiresAt time.Time
}

// Commands of an owner.
type (
	// UseLoginToken trades a login token for a session.
	UseLoginToken struct {
		TokenHash Hash
		SessionID string
		ExpiresAt time.Time // of the session
	}
	// EndSession ends a session before its time.
	EndSession struct {
		OwnerID, SessionID string
		ExpiresAt          time.Time
	}
	// ChangePolicy sets the parts of the policy that are not nil.
	ChangePolicy struct {
		MaxPending, MaxAgents, MaxServices, PendingExpiryHours *int
		ServiceIDs, CIDRs                                      *[]string
	}
	// CreateService registers a service.
	CreateService struct{ ServiceID, Slug, Name, Description string }
	// UpdateService sets what is not nil.
	UpdateService struct {
		ServiceID         string
		Name, Description *string
	}
	// DeleteService ends a service, its keys and its webhooks.
	DeleteService struct{ ServiceID string }
	// CreateServiceKey records a key that the caller has made.
	CreateServiceKey struct {
		KeyID, ServiceID, Name, Prefix string
		Hash                           Hash
	}
	// DeactivateServiceKey makes a key useless.
	DeactivateServiceKey struct{ KeyID, ServiceID string }
	// RevokeServiceKey makes a key useless and takes it off the lists.
	RevokeServiceKey struct{ KeyID, ServiceID string }
	// CreateManagementKey records a key that the caller has made. Grantor holds the
	// permissions of who creates it: nobody gives what he lacks.
	CreateManagementKey struct {
		KeyID, Name, LastFour string
		Permissions, Grantor  []Permission
		Hash                  Hash
	}
	// DeactivateManagementKey makes a key useless.
	DeactivateManagementKey struct {
		KeyID   string
		Grantor []Permission
	}
	// DeleteManagementKey makes a key useless and takes it off the lists.
	DeleteManagementKey struct {
		KeyID   string
		Grantor []Permission
	}
)

func (RegisterNamespace) registryCommand()       {}
func (IssueLoginToken) registryCommand()         {}
func (DeactivateNamespace) registryCommand()     {}
func (ActivateNamespace) registryCommand()       {}
func (UseLoginToken) registryCommand()           {}
func (EndSession) registryCommand()              {}
func (ChangePolicy) registryCommand()            {}
func (CreateService) registryCommand()           {}
func (UpdateService) registryCommand()           {}
func (DeleteService) registryCommand()           {}
func (CreateServiceKey) registryCommand()        {}
func (DeactivateServiceKey) registryCommand()    {}
func (RevokeServiceKey) registryCommand()        {}
func (CreateManagementKey) registryCommand()     {}
func (DeactivateManagementKey) registryCommand() {}
func (DeleteManagementKey) registryCommand()     {}

// RegistryDecision is the outcome of a command. Without payloads there is nothing to
// record: it is so already.
type RegistryDecision struct {
	Payloads []Payload
	Answer   RegistryAnswer
}

// Decide gives the events that a command leads to, or refuses it with an *Error. It
// changes nothing.
func (r *Registry) Decide(cmd RegistryCommand, ref CommandRef, limits OwnerLimits, now time.Time) (RegistryDecision, error) {
	if answer, err := r.answers.recall(ref, now); err != nil || answer != nil {
		if err != nil {
			return RegistryDecision{}, err
		}
		return r.recalled(cmd, answer, now)
	}
	d, err := r.decide(cmd, limits, now)
	if err != nil {
		return RegistryDecision{}, err
	}
	return r.answered(cmd, d, now)
}

func (r *Registry) decide(cmd RegistryCommand, limits OwnerLimits, now time.Time) (RegistryDecision, error) {
	switch cmd := cmd.(type) {
	case RegisterNamespace:
		return r.register(cmd)
	case SignUp:
		return r.signUp(cmd, now)
	}
	if !r.registered {
		return RegistryDecision{}, notFound("namespace")
	}
	switch cmd := cmd.(type) {
	case IssueLoginToken:
		return r.issueLoginToken(cmd)
	case UseLoginToken:
		return r.useLoginToken(cmd, now)
	case EndSession:
		if r.SessionEnded(cmd.SessionID) {
			return RegistryDecision{}, nil
		}
		return record("", SessionEnded{cmd.OwnerID, cmd.SessionID, storedTime(cmd.ExpiresAt)})
	case DeactivateNamespace:
		if !r.active {
			return RegistryDecision{}, nil
		}
		return record("", NamespaceDeactivated{cmd.Reason})
	case ActivateNamespace:
		if r.active {
			return RegistryDecision{}, nil
		}
		return record("", NamespaceActivated{cmd.Reason})
	case ChangePolicy:
		return r.changePolicy(cmd)
	default:
		return r.decideService(cmd, limits, now)
	}
}

func (r *Registry) decideService(cmd RegistryCommand, limits OwnerLimits, now time.Time) (RegistryDecision, error) {
	switch cmd := cmd.(type) {
	case CreateService:
		return r.createService(cmd, limits)
	case UpdateService:
		return r.updateService(cmd)
	case DeleteService:
		if _, ok := r.services[cmd.ServiceID]; !ok {
			return RegistryDecision{}, notFound("service")
		}
		return record(cmd.ServiceID, ServiceDeleted{cmd.ServiceID})
	case CreateServiceKey:
		return r.createServiceKey(cmd, limits)
	case DeactivateServiceKey:
		return r.endServiceKey(cmd.KeyID, cmd.ServiceID, ServiceKeyDeactivated{cmd.KeyID, cmd.ServiceID})
	case RevokeServiceKey:
		return r.endServiceKey(cmd.KeyID, cmd.ServiceID, ServiceKeyRevoked{cmd.KeyID, cmd.ServiceID})
	case CreateManagementKey:
		return r.createManagementKey(cmd, limits)
	case DeactivateManagementKey:
		return r.endManagementKey(cmd.KeyID, cmd.Grantor, ManagementKeyDeactivated{cmd.KeyID})
	case DeleteManagementKey:
		return r.endManagementKey(cmd.KeyID, cmd.Grantor, ManagementKeyDeleted{cmd.KeyID})
	case CreateWebhook:
		return r.createWebhook(cmd, limits)
	}
	return r.decideWebhook(cmd, now)
}

func unknownCommand(cmd RegistryCommand) error { return fmt.Errorf("unknown registry command %T", cmd) }

func record(id string, payloads ...Payload) (RegistryDecision, error) {
	return RegistryDecision{Payloads: payloads, Answer: RegistryAnswer{ID: id}}, nil
}

// notFound does not repeat by what it was asked for: that may be a key in the wrong place,
// and errors are logged and shown.
func notFound(what string) error { return Errorf(CodeNotFound, "There is no such %s.", what) }

func limitConflict(what string, n int) error {
	return Errorf(CodeConflict, "The limit of %d %s is reached.", n, what)
}

// reservedNamespaces cannot be registered: /v1/namespaces/claims is the cache feed, and
// a namespace of that name could never be resolved.
var reservedNamespaces = []string{"claims"}

// free refuses a name that no namespace can be registered under, or that one has.
func (r *Registry) free() error {
	if err := CheckNewNamespace(r.namespace); err != nil {
		return err
	}
	if r.registered {
		return Errorf(CodeConflict, "The namespace %s is registered already.", r.namespace)
	}
	return nil
}

// CheckNewNamespace reports why a name can be no new namespace's.
func CheckNewNamespace(name string) error {
	var v Violations
	switch {
	case !ValidNamespace(name) || CanonicalNamespace(name) != name:
		v.Add("namespace", "must have 3 to 64 lower-case letters, digits and hyphens, the first and last not a hyphen")
	case slices.Contains(reservedNamespaces, name):
		v.Add("namespace", "is a name that the API uses itself")
	}
	return v.Err()
}

func (r *Registry) register(cmd RegisterNamespace) (RegistryDecision, error) {
	if err := r.free(); err != nil {
		return RegistryDecision{}, err
	}
	limits, err := beginWith(cmd.Limits)
	if err != nil {
		return RegistryDecision{}, err
	}
	return RegistryDecision{
		Payloads: append([]Payload{
			NamespaceRegistered{r.namespace, cmd.OwnerID},
			LoginTokenIssued{cmd.OwnerID, cmd.Token.Hash, storedTime(cmd.Token.ExpiresAt)},
		}, limits...),
		Answer: RegistryAnswer{ID: r.namespace, OwnerID: cmd.OwnerID},
	}, nil
}

// beginWith is what gives a new namespace other limits than the default ones. They are
// recorded with it, so that what its log means does not hang on how a program is started.
func beginWith(limits *Limits) ([]Payload, error) {
	p := DefaultPolicy()
	if limits == nil || *limits == p.Limits {
		return nil, nil
	}
	p.Limits = *limits
	return []Payload{PolicyChanged{p}}, p.Validate()
}

func (r *Registry) issueLoginToken(cmd IssueLoginToken) (RegistryDecision, error) {
	owner := cmd.OwnerID
	if owner == "" {
		owner = r.Owner()
	}
	if !r.HasOwner(owner) {
		return RegistryDecision{}, notFound("owner")
	}
	d, err := record(r.namespace, LoginTokenIssued{owner, cmd.Token.Hash, storedTime(cmd.Token.ExpiresAt)})
	d.Answer.OwnerID = owner
	return d, err
}

func (r *Registry) useLoginToken(cmd UseLoginToken, now time.Time) (RegistryDecision, error) {
	t, ok := r.tokens[cmd.TokenHash]
	if !ok || t.used || !now.Before(t.expiresAt) || !r.HasOwner(t.ownerID) {
		return RegistryDecision{}, Errorf(CodeUnauthorized, "This login link is not valid: it was used, it is older than 15 minutes, or it was never issued.")
	}
	d, err := record(cmd.SessionID, OwnerLoggedIn{t.ownerID, cmd.TokenHash, cmd.SessionID, storedTime(cmd.ExpiresAt)})
	d.Answer.OwnerID = t.ownerID
	return d, err
}

func (cmd ChangePolicy) apply(p Policy) Policy {
	setTo(&p.MaxPending, cmd.MaxPending)
	setTo(&p.MaxAgents, cmd.MaxAgents)
	setTo(&p.MaxServices, cmd.MaxServices)
	setTo(&p.PendingExpiryHours, cmd.PendingExpiryHours)
	setList(&p.AutoApprove.ServiceIDs, cmd.ServiceIDs)
	setList(&p.AutoApprove.CIDRs, cmd.CIDRs)
	return p
}

// Check reports every field that is out of bounds, whatever the policy is now.
func (cmd ChangePolicy) Check() error { return cmd.apply(DefaultPolicy()).Validate() }

func (r *Registry) changePolicy(cmd ChangePolicy) (RegistryDecision, error) {
	p := cmd.apply(r.policy)
	if err := p.Validate(); err != nil {
		return RegistryDecision{}, err
	}
	if p.equal(r.policy) {
		return RegistryDecision{Answer: RegistryAnswer{ID: r.namespace}}, nil
	}
	return record(r.namespace, PolicyChanged{p})
}

func setTo[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// setList copies the list, and makes an empty one of none: it is stored and shown as [].
func setList(field, value *[]string) {
	if value != nil {
		*field = append([]string{}, *value...)
	}
}

func (r *Registry) createService(cmd CreateService, limits OwnerLimits) (RegistryDecision, error) {
	var v Violations
	if !ValidSlug(cmd.Slug) {
		v.Add("slug", "must have 1 to 64 lower-case letters, digits and hyphens, the first and last not a hyphen")
	}
	v.Text("name", cmd.Name, 1, MaxName)
	v.Text("description", cmd.Description, 0, MaxDescription)
	if err := v.Err(); err != nil {
		return RegistryDecision{}, err
	}
	for _, s := range r.services {
		if s.Slug == cmd.Slug {
			return RegistryDecision{}, Errorf(CodeConflict, "There is a service %s already.", cmd.Slug)
		}
	}
	if len(r.services) >= limits.Services {
		return RegistryDecision{}, limitConflict("services", limits.Services)
	}
	return record(cmd.ServiceID, ServiceCreated{cmd.ServiceID, cmd.Slug, cmd.Name, cmd.Description})
}

func (r *Registry) updateService(cmd UpdateService) (RegistryDecision, error) {
	s, ok := r.services[cmd.ServiceID]
	setTo(&s.Name, cmd.Name)
	setTo(&s.Description, cmd.Description)
	var v Violations
	if cmd.Name != nil {
		v.Text("name", s.Name, 1, MaxName)
	}
	v.Text("description", s.Description, 0, MaxDescription)
	if err := v.Err(); err != nil {
		return RegistryDecision{}, err
	}
	if !ok {
		return RegistryDecision{}, notFound("service")
	}
	return record(s.ID, ServiceUpdated{s.ID, s.Name, s.Description})
}

func (r *Registry) createServiceKey(cmd CreateServiceKey, limits OwnerLimits) (RegistryDecision, error) {
	var v Violations
	v.Text("name", cmd.Name, 0, MaxName)
	if err := v.Err(); err != nil {
		return RegistryDecision{}, err
	}
	if _, ok := r.services[cmd.ServiceID]; !ok {
		return RegistryDecision{}, notFound("service")
	}
	if r.ActiveKeys(cmd.ServiceID) >= limits.KeysPerService {
		return RegistryDecision{}, limitConflict("active keys for a service", limits.KeysPerService)
	}
	return record(cmd.KeyID, ServiceKeyCreated{cmd.KeyID, cmd.ServiceID, cmd.Name, cmd.Hash, cmd.Prefix})
}

func (r *Registry) endServiceKey(keyID, serviceID string, p Payload) (RegistryDecision, error) {
	k, ok := r.keys[keyID]
	if !ok || k.ServiceID != serviceID {
		return RegistryDecision{}, notFound("key")
	}
	if _, deactivate := p.(ServiceKeyDeactivated); deactivate && !k.Active {
		return RegistryDecision{Answer: RegistryAnswer{ID: keyID}}, nil
	}
	return record(keyID, p)
}

// allGranted refuses to touch permissions that the caller lacks himself.
func allGranted(grantor, permissions []Permission) error {
	for _, p := range permissions {
		if !slices.Contains(grantor, p) {
			return Errorf(CodePermissionRequired, "A key can only be managed by a caller that has its permissions; %s is missing.", p)
		}
	}
	return nil
}

// Check reports every field that is wrong.
func (cmd CreateManagementKey) Check() error {
	var v Violations
	v.Text("name", cmd.Name, 1, MaxName)
	if len(cmd.Permissions) == 0 {
		v.Add("permissions", "must name at least one permission")
	}
	for i, p := range cmd.Permissions {
		if !slices.Contains(Permissions, p) {
			v.Add(fmt.Sprintf("permissions[%d]", i), "must be one of read, update-data, delete-data, update-model, delete-model")
		} else if slices.Contains(cmd.Permissions[:i], p) {
			v.Add(fmt.Sprintf("permissions[%d]", i), "is named twice")
		}
	}
	return v.Err()
}

func (r *Registry) createManagementKey(cmd CreateManagementKey, limits OwnerLimits) (RegistryDecision, error) {
	if err := cmd.Check(); err != nil {
		return RegistryDecision{}, err
	}
	if err := allGranted(cmd.Grantor, cmd.Permissions); err != nil {
		return RegistryDecision{}, err
	}
	active := 0
	for _, k := range r.managers {
		if k.Active {
			active++
		}
	}
	if active >= limits.ManagementKeys {
		return RegistryDecision{}, limitConflict("active management keys", limits.ManagementKeys)
	}
	return record(cmd.KeyID, ManagementKeyCreated{cmd.KeyID, cmd.Name, cmd.Permissions, cmd.Hash, cmd.LastFour})
}

func (r *Registry) endManagementKey(keyID string, grantor []Permission, p Payload) (RegistryDecision, error) {
	k, ok := r.managers[keyID]
	if !ok {
		return RegistryDecision{}, notFound("key")
	}
	if err := allGranted(grantor, k.Permissions); err != nil {
		return RegistryDecision{}, err
	}
	if _, deactivate := p.(ManagementKeyDeactivated); deactivate && !k.Active {
		return RegistryDecision{Answer: RegistryAnswer{ID: keyID}}, nil
	}
	return record(keyID, p)
}
