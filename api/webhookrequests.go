package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/claimledger/claimledger/domain"
)

type askedBody struct {
	ID string `json:"id"`
}

// ask prepares what a relay is asked to do for the caller's webhook. It is no command
// on the ledger, because it records nothing that happened.
func (s *Server) ask(c *call, r DeliveryRequest) (action, error) {
	_, ref, err := c.meta("webhook."+r.Kind, c.owner.actor)
	if err != nil {
		return nil, err
	}
	r.ID, r.WebhookID, r.Fingerprint = strings.ToLower(s.config.NewID()), c.path("webhook"), ref.Request[:]
	if ref.Key != "" {
		// A caller's keys are his own; the id says nothing about them.
		r.ID = domain.HashOf([]byte(c.owner.namespace + "\n" + ref.Caller + "\n" + ref.Key)).String()
	}
	return func(ctx context.Context) (answer, error) {
		if err := s.ownWebhook(c); err != nil {
			return answer{position: s.commands.Position()}, err
		}
		id, err := s.config.Deliveries.Ask(ctx, r)
		if err != nil {
			return answer{}, err
		}
		position, err := s.config.Deliveries.Position(ctx)
		return answer{status: http.StatusAccepted, body: askedBody{id}, position: position}, err
	}, nil
}

func (s *Server) ping(c *call) (action, error) {
	return s.ask(c, DeliveryRequest{Kind: "ping"})
}

func (s *Server) redeliver(c *call) (action, error) {
	return s.ask(c, DeliveryRequest{Kind: "redeliver", DeliveryID: c.path("delivery")})
}

func (s *Server) replay(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	r := DeliveryRequest{Kind: "replay", FromTime: f.time("from_time")}
	var position string
	if f.get("from_position", "a position, as text", &position) {
		n, err := strconv.ParseInt(position, 10, 64)
		if err != nil || n < 0 || strconv.FormatInt(n, 10) != position {
			f.Add("from_position", "must be a position, as in "+positionHeader)
		}
		from := uint64(max(n, 0))
		r.FromPosition = &from
	}
	if f.has("from_position") == f.has("from_time") {
		f.Add("from_position", "or from_time is required, and not both")
	}
	act, err := s.ask(c, r)
	return act, allWrong(f.Err(), err)
}
