package sim

import (
	"bytes"
	"context"
	"fmt"

	"github.com/claimledger/claimledger/eventstore"
)

// snapshotEvery is how many commits make a snapshot due.
const snapshotEvery = 2

// store is where a node keeps snapshots. Each call waits at the gate, as those of the log
// do, and whoever loads may get any that was ever kept, or what is left of it. What was
// kept outlives what the log loses.
type store struct {
	world *world
	node  *node
	life  int
}

func (s *store) enter(ctx context.Context, kind, name string) verdict {
	return s.world.gate.enter(&operation{kind: kind, name: name, node: s.node, life: s.life, command: callerOf(ctx)})
}

func (s *store) Save(ctx context.Context, name string, contents []byte) error {
	v := s.enter(ctx, opSave, name)
	if v == halved {
		contents = contents[:len(contents)/2]
	}
	if v != unreachable {
		s.world.kept[name] = append(s.world.kept[name], bytes.Clone(contents))
	}
	if v != works {
		return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	}
	return nil
}

func (s *store) Load(ctx context.Context, name string) ([]byte, error) {
	v, all := s.enter(ctx, opLoad, name), s.world.kept[name]
	switch {
	case v == unreachable:
		return nil, fmt.Errorf("%w: %w", eventstore.ErrUnavailable, errCut)
	case v == missing || len(all) == 0:
		return nil, nil
	case v == older:
		return all[len(all)/2], nil
	case v == halved:
		return all[len(all)-1][:len(all[len(all)-1])/2], nil
	case v == damaged:
		contents := bytes.Clone(all[len(all)-1])
		contents[len(contents)/2] ^= 1
		return contents, nil
	}
	return all[len(all)-1], nil
}
