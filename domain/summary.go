package domain

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Summary tells in one sentence who did what to a namespace. It says nothing that is
// not in the event, and quotes every text that somebody chose freely, so that no such
// text can pass for a part of the sentence.
func Summary(by Actor, namespace string, p Payload) string {
	if s := claimSummary(by, p); s != "" {
		return s
	}
	if s := namespaceSummary(by, namespace, p); s != "" {
		return s
	}
	if s := serviceSummary(by, namespace, p); s != "" {
		return s
	}
	if s := ownerSummary(by, namespace, p); s != "" {
		return s
	}
	return unreadSummary(by, p.EventType())
}

// SummaryOf is the Summary of an event as it is stored, with or without what in it is
// secret. Of an event that this program cannot read it tells the type.
func SummaryOf(by Actor, namespace string, t EventType, version int, data json.RawMessage) string {
	p, err := DecodePayload(t, version, data)
	if err != nil {
		return unreadSummary(by, t)
	}
	return Summary(by, namespace, p)
}

func unreadSummary(by Actor, t EventType) string {
	return fmt.Sprintf("%s recorded the event %s.", by.subject(), t)
}

func claimSummary(by Actor, p Payload) string {
	switch p := p.(type) {
	case ClaimSubmitted:
		return fmt.Sprintf("%s submitted claim %s: agent %s at %s asks to use service %s of namespace %s%s.",
			by.subject(), p.ClaimID, p.agent(), p.AgentIP, p.Service, p.ServiceNamespace, quotedAfter(" for ", p.Subject))
	case ClaimApproved:
		if p.AutoApproved {
			return fmt.Sprintf("The namespace's policy approved claim %s%s, as %s submitted it.", p.ClaimID, until(p.ExpiresAt), by.object())
		}
		return fmt.Sprintf("%s approved claim %s%s%s.", by.subject(), p.ClaimID, until(p.ExpiresAt), because(p.Reason))
	case ClaimRejected:
		if p.ByPolicy {
			return fmt.Sprintf("The namespace's policy rejected claim %s, as %s submitted it%s.", p.ClaimID, by.object(), because(p.Reason))
		}
		return fmt.Sprintf("%s rejected claim %s%s.", by.subject(), p.ClaimID, because(p.Reason))
	case ClaimRevoked:
		return fmt.Sprintf("%s revoked claim %s%s.", by.subject(), p.ClaimID, because(p.Reason))
	case ClaimExpired:
		return p.summary(by)
	}
	return ""
}

// agent is the one who asks, by its name where it gave one, and by its key always.
func (p ClaimSubmitted) agent() string {
	switch {
	case p.AgentName != "":
		return strconv.Quote(p.AgentName) + " with the key " + p.PublicKey
	case p.AgentID != "":
		return strconv.Quote(p.AgentID) + " with the key " + p.PublicKey
	}
	return p.PublicKey
}

// summary blames time for what time did, whoever's command happened to record it.
func (p ClaimExpired) summary(by Actor) string {
	var why string
	switch p.Cause {
	case ExpiredUndecided:
		why = "nobody had decided on it in time"
	case ExpiredApproval:
		why = "the time that it was approved for was over"
	default:
		return fmt.Sprintf("%s ended claim %s as expired%s.", by.subject(), p.ClaimID, because(p.Reason))
	}
	if by.Kind == ActorClock {
		return fmt.Sprintf("The clock ended claim %s as expired: %s.", p.ClaimID, why)
	}
	return fmt.Sprintf("The clock ended claim %s as expired, which a command of %s recorded: %s.", p.ClaimID, by.object(), why)
}

func namespaceSummary(by Actor, namespace string, p Payload) string {
	who := by.subject()
	switch p := p.(type) {
	case NamespaceRegistered:
		return fmt.Sprintf("%s registered namespace %s with owner %s.", who, p.Namespace, p.OwnerID)
	case NamespaceDeactivated:
		return fmt.Sprintf("%s deactivated namespace %s%s.", who, namespace, because(p.Reason))
	case NamespaceActivated:
		return fmt.Sprintf("%s activated namespace %s%s.", who, namespace, because(p.Reason))
	case LoginTokenIssued:
		return fmt.Sprintf("%s issued a one-time login link for owner %s, good until %s.", who, p.OwnerID, moment(p.ExpiresAt))
	case OwnerLoggedIn:
		return fmt.Sprintf("Owner %s signed in with a one-time login link, for session %s until %s.", p.OwnerID, p.SessionID, moment(p.ExpiresAt))
	case SessionEnded:
		return fmt.Sprintf("%s ended session %s of owner %s.", who, p.SessionID, p.OwnerID)
	case PolicyChanged:
		return fmt.Sprintf("%s changed the policy of namespace %s to %s.", who, namespace, p.Policy.words())
	case ManagementKeyCreated:
		return fmt.Sprintf("%s created management key %s, named %q, which ends in %s and has the permissions %s.",
			who, p.KeyID, p.Name, p.LastFour, join(p.Permissions))
	case ManagementKeyDeactivated:
		return fmt.Sprintf("%s deactivated management key %s.", who, p.KeyID)
	case ManagementKeyDeleted:
		return fmt.Sprintf("%s deleted management key %s.", who, p.KeyID)
	}
	return ""
}

func ownerSummary(by Actor, namespace string, p Payload) string {
	who := by.subject()
	switch p := p.(type) {
	case OwnerAdded:
		return fmt.Sprintf("%s made %s an owner of namespace %s.", who, p.OwnerID, namespace)
	case OwnerRemoved:
		return fmt.Sprintf("%s removed owner %s of namespace %s, with his sessions, passkeys and login links.", who, p.OwnerID, namespace)
	case PasskeyAdded:
		return fmt.Sprintf("%s added passkey %s, named %q, for owner %s.", who, p.PasskeyID, p.Name, p.OwnerID)
	case PasskeyRemoved:
		return fmt.Sprintf("%s removed passkey %s of owner %s.", who, p.PasskeyID, p.OwnerID)
	case OwnerSignedIn:
		return fmt.Sprintf("Owner %s signed in with passkey %s, for session %s until %s.", p.OwnerID, p.PasskeyID, p.SessionID, moment(p.ExpiresAt))
	}
	return ""
}

func serviceSummary(by Actor, namespace string, p Payload) string {
	who := by.subject()
	switch p := p.(type) {
	case ServiceCreated:
		return fmt.Sprintf("%s created service %s of namespace %s, named %q, with the id %s.", who, p.Slug, namespace, p.Name, p.ServiceID)
	case ServiceUpdated:
		return fmt.Sprintf("%s changed service %s, which is now named %q%s.", who, p.ServiceID, p.Name, quotedAfter(" and described as ", p.Description))
	case ServiceDeleted:
		return fmt.Sprintf("%s deleted service %s with its keys and webhooks.", who, p.ServiceID)
	case ServiceKeyCreated:
		return fmt.Sprintf("%s created service key %s%s, which begins with %s, for service %s.",
			who, p.KeyID, quotedAfter(", named ", p.Name), p.KeyPrefix, p.ServiceID)
	case ServiceKeyDeactivated:
		return fmt.Sprintf("%s deactivated service key %s of service %s.", who, p.KeyID, p.ServiceID)
	case ServiceKeyRevoked:
		return fmt.Sprintf("%s revoked service key %s of service %s.", who, p.KeyID, p.ServiceID)
	case WebhookCreated:
		return fmt.Sprintf("%s created webhook %s, which tells %q of %s on service %s.", who, p.WebhookID, p.URL, join(p.Events), p.ServiceID)
	case WebhookReconfigured:
		return fmt.Sprintf("%s changed webhook %s of service %s, which now tells %q of %s.", who, p.WebhookID, p.ServiceID, p.URL, join(p.Events))
	case WebhookSecretRotated:
		return fmt.Sprintf("%s gave webhook %s of service %s a new secret; the one before signs too until %s.",
			who, p.WebhookID, p.ServiceID, p.PreviousUntil.UTC().Format(time.RFC3339))
	case WebhookResealed:
		return fmt.Sprintf("%s sealed the secrets of webhook %s of service %s again, with another key.", who, p.WebhookID, p.ServiceID)
	case WebhookUpdated:
		verb := "deactivated"
		if p.Active {
			verb = "activated"
		}
		return fmt.Sprintf("%s %s webhook %s of service %s%s.", who, verb, p.WebhookID, p.ServiceID, because(p.Reason))
	case WebhookDeleted:
		return fmt.Sprintf("%s deleted webhook %s of service %s.", who, p.WebhookID, p.ServiceID)
	}
	return ""
}

// actorNames are what the kinds of actors are called within a sentence.
var actorNames = map[ActorKind]string{
	ActorOperator:      "the operator",
	ActorOwner:         "owner",
	ActorManagementKey: "management key",
	ActorServiceKey:    "service key",
	ActorClock:         "the clock",
	ActorRelay:         "the webhook relay",
}

// object is the actor as the object of a sentence.
func (a Actor) object() string {
	name, ok := actorNames[a.Kind]
	if !ok {
		name = string(a.Kind)
	}
	if a.ID == "" {
		return name
	}
	return name + " " + a.ID
}

// subject is the actor as the subject that a sentence begins with.
func (a Actor) subject() string {
	s := a.object()
	if s == "" {
		return "Somebody"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func because(reason string) string { return quotedAfter(", because ", reason) }

func quotedAfter(words, text string) string {
	if text == "" {
		return ""
	}
	return words + strconv.Quote(text)
}

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " until " + moment(*t)
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func join[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = string(item)
	}
	return strings.Join(texts, ", ")
}

func (p Policy) words() string {
	expiry := "pending claims that never expire"
	if p.PendingExpiryHours > 0 {
		expiry = fmt.Sprintf("pending claims that expire after %d hours", p.PendingExpiryHours)
	}
	auto := "no automatic approval"
	if n := len(p.AutoApprove.ServiceIDs); n > 0 {
		auto = "automatic approval on " + join(p.AutoApprove.ServiceIDs)
		if len(p.AutoApprove.CIDRs) > 0 {
			auto += " from " + join(p.AutoApprove.CIDRs)
		}
	}
	return fmt.Sprintf("at most %d pending claims, %d agents and %d services, %s, and %s",
		p.MaxPending, p.MaxAgents, p.MaxServices, expiry, auto)
}
