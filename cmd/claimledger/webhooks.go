package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/claimledger/claimledger/domain"
)

type webhooksCommands struct {
	Listen listenCommand        `cmd:"" help:"Forward a webhook's events to a program on this machine, signed as the ledger signs them."`
	Verify verifyRequestCommand `cmd:"" help:"Say why a captured request's signatures verify or do not."`
}

// webhookSecretSettings tell a webhook's secret.
type webhookSecretSettings struct {
	WebhookSecret     string `help:"The webhook's secret. Others on the machine see a command line: prefer the variable, or a file." placeholder:"SECRET"`
	WebhookSecretFile string `help:"Or a file that holds it, and no more than a line break besides." placeholder:"FILE"`
}

// secret is the one that was told, and one that can sign.
func (s webhookSecretSettings) secret() (string, error) {
	secret := s.WebhookSecret
	switch {
	case secret != "" && s.WebhookSecretFile != "":
		return "", usageError{errors.New("--webhook-secret and --webhook-secret-file are one too many")}
	case secret == "" && s.WebhookSecretFile == "":
		return "", usageError{fmt.Errorf("the webhook's secret is needed: --webhook-secret-file, or $%s", variable("webhook-secret"))}
	case secret == "":
		text, err := os.ReadFile(s.WebhookSecretFile)
		if err != nil {
			return "", usageError{fmt.Errorf("--webhook-secret-file: %w", err)}
		}
		secret = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	}
	if _, err := domain.WebhookSecretKey(secret); err != nil {
		var invalid *domain.Error
		if errors.As(err, &invalid) && len(invalid.Details) > 0 {
			err = fmt.Errorf("it %s", invalid.Details[0].Message)
		}
		return "", usageError{fmt.Errorf("that is no webhook's secret: %w", err)}
	}
	return secret, nil
}
