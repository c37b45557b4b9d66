package domain

import (
	"encoding/base64"
	"strings"
)

const (
	// webhookSecretPrefix marks a secret whose key is the base64 that follows, as
	// the Standard Webhooks specification has it.
	webhookSecretPrefix = "whsec_"
	// The specification's bounds for the decoded key.
	minWebhookKey = 24
	maxWebhookKey = 64
	// The bounds for a secret that a client brings as plain text: below 16 bytes it
	// could be guessed from one captured delivery.
	minOwnWebhookSecret = 16
	maxOwnWebhookSecret = 256
)

// FormatWebhookSecret writes 32 random bytes as a webhook's secret.
func FormatWebhookSecret(raw [32]byte) string {
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(raw[:])
}

// CheckWebhookSecret refuses a secret that cannot sign, with CodeInvalidRequest.
func CheckWebhookSecret(secret string) error {
	_, err := WebhookSecretKey(secret)
	return err
}

// WebhookSecretKey is the key of the Standard Webhooks signature: the bytes encoded
// after whsec_, or the bytes of a client's own secret as they are.
func WebhookSecretKey(secret string) ([]byte, error) {
	encoded, standard := strings.CutPrefix(secret, webhookSecretPrefix)
	if !standard {
		if len(secret) < minOwnWebhookSecret || len(secret) > maxOwnWebhookSecret {
			return nil, webhookSecretError("must have 16 to 256 bytes")
		}
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	// Decoding skips line breaks and stray trailing bits. Only the one spelling is
	// taken, so that every implementation arrives at the same key.
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return nil, webhookSecretError("must be standard base64 with padding after whsec_")
	}
	if len(key) < minWebhookKey || len(key) > maxWebhookKey {
		return nil, webhookSecretError("must encode 24 to 64 bytes after whsec_")
	}
	return key, nil
}

// webhookSecretError never carries the decoder's error, which could quote the secret.
func webhookSecretError(reason string) error {
	return &Error{
		Code:    CodeInvalidRequest,
		Message: "the webhook's secret is not valid",
		Details: []FieldError{{Field: "secret", Message: reason}},
	}
}
