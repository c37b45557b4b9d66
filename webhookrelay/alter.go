package webhookrelay

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimledger/claimledger/domain"
)

// alteration is a change to what a webhook is called with. What is attempted after its
// commit was read follows it, deliveries that were queued before included.
type alteration interface{ queue(b *pgx.Batch) }

type reconfiguration domain.WebhookReconfigured

func (r reconfiguration) queue(b *pgx.Batch) {
	authKeyID, authValue := sealedColumns(r.AuthValue)
	b.Queue(reconfigureWebhookSQL, r.WebhookID, r.URL, eventNames(r.Events), r.AuthHeader, authKeyID, authValue)
}

type rotation domain.WebhookSecretRotated

func (r rotation) queue(b *pgx.Batch) {
	b.Queue(rotateSecretSQL, r.WebhookID, r.PreviousUntil, r.Secret.KeyID, r.Secret.Data)
}

type resealing domain.WebhookResealed

func (r resealing) queue(b *pgx.Batch) {
	authKeyID, authValue := sealedColumns(r.AuthValue)
	b.Queue(resealWebhookSQL, r.WebhookID, r.Secret.KeyID, r.Secret.Data, authKeyID, authValue)
	if len(r.Former) == 0 {
		return
	}
	var ends []time.Time
	var keyIDs []string
	var secrets [][]byte
	for _, f := range r.Former {
		ends, keyIDs, secrets = append(ends, f.Until), append(keyIDs, f.Secret.KeyID), append(secrets, f.Secret.Data)
	}
	b.Queue(resealFormerSQL, r.WebhookID, ends, keyIDs, secrets)
}

func eventSet(types []domain.EventType) map[domain.EventType]bool {
	set := make(map[domain.EventType]bool, len(types))
	for _, t := range types {
		set[t] = true
	}
	return set
}

func eventNames(types []domain.EventType) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return names
}

// sealedColumns are the columns of a secret that may be absent.
func sealedColumns(s *domain.Sealed) (keyID *string, data []byte) {
	if s == nil {
		return nil, nil
	}
	return &s.KeyID, s.Data
}
