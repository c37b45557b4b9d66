package projections

import (
	"context"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

var (
	serviceInsertSQL           = statement("services/insert.sql")
	serviceUpdateSQL           = statement("services/update.sql")
	serviceDeleteSQL           = statement("services/delete.sql")
	serviceDeleteKeysSQL       = statement("services/delete_keys.sql")
	serviceDeleteWebhooksSQL   = statement("services/delete_webhooks.sql")
	keyInsertSQL               = statement("services/key_insert.sql")
	keyDeactivateSQL           = statement("services/key_deactivate.sql")
	keyDeleteSQL               = statement("services/key_delete.sql")
	managementKeyInsertSQL     = statement("services/management_key_insert.sql")
	managementKeyDeactivateSQL = statement("services/management_key_deactivate.sql")
	managementKeyDeleteSQL     = statement("services/management_key_delete.sql")
	webhookInsertSQL           = statement("services/webhook_insert.sql")
	webhookReconfigureSQL      = statement("services/webhook_reconfigure.sql")
	webhookUpdateSQL           = statement("services/webhook_update.sql")
	webhookDeleteSQL           = statement("services/webhook_delete.sql")
)

// applyServices sends a statement for each event: owners change their services a few
// times a day.
func applyServices(_ context.Context, t *target, records []eventstore.Record) error {
	return each(records, domain.KindRegistry, func(rec eventstore.Record, p domain.Payload) error {
		applyService(t, rec, p)
		applyKey(t, rec, p)
		return nil
	})
}

func applyService(t *target, rec eventstore.Record, p domain.Payload) {
	at := rec.Commit.Time
	switch p := p.(type) {
	case domain.ServiceCreated:
		t.queue(serviceInsertSQL, p.ServiceID, rec.Commit.Namespace, p.Slug, p.Name, p.Description, at, rec.Position)
	case domain.ServiceUpdated:
		t.queueOne("service "+p.ServiceID, serviceUpdateSQL, p.ServiceID, p.Name, p.Description, at)
	case domain.ServiceDeleted:
		t.queueOne("service "+p.ServiceID, serviceDeleteSQL, p.ServiceID)
		t.queue(serviceDeleteKeysSQL, p.ServiceID)
		t.queue(serviceDeleteWebhooksSQL, p.ServiceID)
	case domain.WebhookCreated:
		t.queue(webhookInsertSQL, p.WebhookID, p.ServiceID, p.URL, names(p.Events), p.Description, p.AuthHeader, at, rec.Position)
	case domain.WebhookReconfigured:
		t.queueOne("webhook "+p.WebhookID, webhookReconfigureSQL, p.WebhookID, p.URL, names(p.Events), p.Description, p.AuthHeader)
	case domain.WebhookUpdated:
		t.queueOne("webhook "+p.WebhookID, webhookUpdateSQL, p.WebhookID, p.Active)
	case domain.WebhookDeleted:
		t.queueOne("webhook "+p.WebhookID, webhookDeleteSQL, p.WebhookID)
	}
}

func applyKey(t *target, rec eventstore.Record, p domain.Payload) {
	at := rec.Commit.Time
	switch p := p.(type) {
	case domain.ServiceKeyCreated:
		t.queue(keyInsertSQL, p.KeyID, p.ServiceID, p.Name, p.KeyPrefix, at, rec.Position)
	case domain.ServiceKeyDeactivated:
		t.queueOne("key "+p.KeyID, keyDeactivateSQL, p.KeyID)
	case domain.ServiceKeyRevoked:
		t.queueOne("key "+p.KeyID, keyDeleteSQL, p.KeyID)
	case domain.ManagementKeyCreated:
		permissions := make([]string, len(p.Permissions))
		for i, permission := range p.Permissions {
			permissions[i] = string(permission)
		}
		t.queue(managementKeyInsertSQL, p.KeyID, rec.Commit.Namespace, p.Name, p.LastFour, permissions, at, rec.Position)
	case domain.ManagementKeyDeactivated:
		t.queueOne("management key "+p.KeyID, managementKeyDeactivateSQL, p.KeyID)
	case domain.ManagementKeyDeleted:
		t.queueOne("management key "+p.KeyID, managementKeyDeleteSQL, p.KeyID)
	}
}

func names(types []domain.EventType) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return names
}
