package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/claimledger/claimledger/api/commands"
	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/projections"
)

type serviceBody struct {
	ID             string    `json:"id"`
	Slug           string    `json:"slug"`
	Name           string    `json:"name"`
	Description    string    `json:"description"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	ActiveKeyCount int       `json:"active_key_count"`
}

type successBody struct {
	Success bool `json:"success"`
}

// newUUID makes a version 4 UUID (RFC 9562, 5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// registry prepares a command on the caller's registry. render makes the answer's body
// of what was decided, and of nothing that may have changed since: a repeat gets the
// same. appended is false for a repeat, which is not shown a secret.
func (s *Server) registry(c *call, name string, status int, cmd domain.RegistryCommand,
	render func(a domain.RegistryAnswer, appended bool) any) (action, error) {
	actor, ref, err := c.meta(name, c.owner.actor)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		a, result, err := s.commands.Registry(ctx, c.owner.namespace, cmd, commands.Meta{Actor: actor, Ref: ref})
		if err != nil {
			return answer{position: result.Position}, err
		}
		return answer{status: status, position: result.Position, body: render(a, result.Appended)}, nil
	}, nil
}

func success(domain.RegistryAnswer, bool) any { return successBody{true} }

func (s *Server) createService(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	cmd := domain.CreateService{
		ServiceID: newUUID(),
		Slug:      f.required("slug", domain.MinSlug, domain.MaxSlug),
		Name:      f.required("name", 1, domain.MaxName),
	}
	if cmd.Slug != "" && !domain.ValidSlug(cmd.Slug) {
		f.Add("slug", "must have lower-case letters, digits and hyphens, the first and last not a hyphen")
	}
	if d := f.text("description", domain.MaxDescription); d != nil {
		cmd.Description = *d
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s.registry(c, "service.create", http.StatusCreated, cmd, renderService)
}

func (s *Server) updateService(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	cmd := domain.UpdateService{ServiceID: c.path("service"), Name: f.text("name", domain.MaxName), Description: f.text("description", domain.MaxDescription)}
	if cmd.Name == nil && cmd.Description == nil {
		f.Add("name", "or description is required")
	}
	if cmd.Name != nil && *cmd.Name == "" {
		f.Add("name", "must not be empty")
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return s.registry(c, "service.update", http.StatusOK, cmd, renderService)
}

func renderService(a domain.RegistryAnswer, _ bool) any {
	svc := a.Service
	return serviceBody{a.ID, svc.Slug, svc.Name, svc.Description, svc.CreatedAt, svc.UpdatedAt, svc.ActiveKeys}
}

func (s *Server) deleteService(c *call) (action, error) {
	return s.registry(c, "service.delete", http.StatusOK, domain.DeleteService{ServiceID: c.path("service")}, success)
}

func renderServiceModel(m projections.Service) serviceBody {
	return serviceBody{m.ID, m.Slug, m.Name, m.Description, m.CreatedAt, m.UpdatedAt, m.ActiveKeyCount}
}

// list prepares a page of a list of the caller's namespace, under the name that the
// list has in the answer.
func list[M, B any](s *Server, c *call, name string, load func(ctx context.Context, limit, offset int) ([]M, int, projections.At, error),
	render func(ctx context.Context, rows []M) ([]B, error)) (action, error) {
	q, err := readQuery(c.r)
	if err != nil {
		return nil, err
	}
	limit, offset := q.page(defaultListLimit, maxListLimit)
	wait, err := s.readAfter(c, projections.ServicesModel)
	if err := allWrong(q.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		rows, total, at, err := load(ctx, limit, offset)
		if err != nil {
			return answer{position: at.Position}, err
		}
		bodies, err := render(ctx, rows)
		if err != nil {
			return answer{}, err
		}
		return answer{position: at.Position, body: map[string]any{
			name: bodies, "pagination": paginate(limit, offset, total, len(bodies)),
		}}, nil
	}, nil
}

// each renders rows one by one.
func each[M, B any](render func(M) B) func(context.Context, []M) ([]B, error) {
	return func(_ context.Context, rows []M) ([]B, error) {
		bodies := make([]B, len(rows))
		for i, row := range rows {
			bodies[i] = render(row)
		}
		return bodies, nil
	}
}

func (s *Server) listServices(c *call) (action, error) {
	return list(s, c, "services", func(ctx context.Context, limit, offset int) ([]projections.Service, int, projections.At, error) {
		page, at, err := s.config.Reads.Services(ctx, c.owner.namespace, limit, offset)
		return page.Services, page.Total, at, err
	}, each(renderServiceModel))
}

func (s *Server) getService(c *call) (action, error) {
	wait, err := s.readAfter(c, projections.ServicesModel)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := wait(ctx); err != nil {
			return answer{}, err
		}
		m, at, err := s.config.Reads.Service(ctx, c.owner.namespace, c.path("service"))
		if err != nil {
			return answer{position: at.Position}, err
		}
		return answer{body: renderServiceModel(m), position: at.Position}, nil
	}, nil
}

func (s *Server) changePolicy(c *call) (action, error) {
	f, err := readFields(c, false)
	if err != nil {
		return nil, err
	}
	cmd := domain.ChangePolicy{
		MaxPending: f.number("max_pending"), MaxAgents: f.number("max_agents"),
		MaxServices: f.number("max_services"), PendingExpiryHours: f.number("pending_expiry_hours"),
	}
	if f.has("auto_approve") {
		inner := &fields{}
		if f.get("auto_approve", "an object", &inner.raw) {
			cmd.ServiceIDs, cmd.CIDRs = inner.texts("service_ids"), inner.texts("cidrs")
		}
		f.Nested("auto_approve", &inner.Violations)
	}
	f.Merge(cmd.Check())
	act, err := s.registry(c, "policy.change", http.StatusOK, cmd, func(a domain.RegistryAnswer, _ bool) any { return *a.Policy })
	if err := allWrong(f.Err(), err); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (answer, error) {
		if err := c.owner.owns(c.path("namespace")); err != nil {
			return answer{}, err
		}
		return act(ctx)
	}, nil
}
