package commands

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"maps"
	"slices"

	"github.com/claimledger/claimledger/domain"
	"github.com/claimledger/claimledger/eventstore"
)

// directoryName is what the snapshot of the directory is kept under. No boundary has it.
const directoryName = "directory"

// keptDirectory is the directory as it is written down.
type keptDirectory struct {
	From       uint64 // what came up to here is in it; of what came later, some
	Namespaces []keptNamespace
}

type keptNamespace struct {
	Head             eventstore.Head
	Registry         domain.RegistrySnapshot
	Services, Owners []string // that were ever heard of
}

// keep copies what the directory knows, when it is complete up to a position, and gives the
// last commit in it. Each registry is locked for itself, and only while it is copied:
// one may be ahead of another, and what that means is read again.
func (d *Directory) keep(complete uint64) (keptDirectory, eventstore.Head) {
	d.mu.RLock()
	boundaries, services, owners := maps.Clone(d.namespaces), maps.Clone(d.services), maps.Clone(d.owners)
	d.mu.RUnlock()
	kept := map[string]*keptNamespace{}
	for name, b := range boundaries {
		k := &keptNamespace{}
		b.mu.RLock()
		if k.Head = b.head; k.Head.Version > 0 {
			k.Registry, kept[name] = b.state.Snapshot(), k
		}
		b.mu.RUnlock()
	}
	for id, name := range services {
		if k := kept[name]; k != nil {
			k.Services = append(k.Services, id)
		}
	}
	for id, name := range owners {
		if k := kept[name]; k != nil {
			k.Owners = append(k.Owners, id)
		}
	}
	var all keptDirectory
	var last eventstore.Head
	for _, k := range kept {
		slices.Sort(k.Services)
		slices.Sort(k.Owners)
		all.Namespaces = append(all.Namespaces, *k)
		if k.Head.Position > last.Position {
			last = k.Head
		}
	}
	slices.SortFunc(all.Namespaces, func(a, b keptNamespace) int { return cmp.Compare(a.Registry.Namespace, b.Registry.Namespace) })
	// Behind the last commit nothing is vouched for: a log that was cut off there may have
	// others by now.
	all.From = min(complete, last.Position)
	return all, last
}

// restore makes a directory of what was kept.
func (k keptDirectory) restore(log eventstore.Log) (*Directory, error) {
	d := newDirectory(log)
	for _, n := range k.Namespaces {
		state, err := n.Registry.Restore()
		if err != nil {
			return nil, err
		}
		name := n.Registry.Namespace
		if state.Version() != n.Head.Version || d.namespaces[name] != nil {
			return nil, errors.New("the registry of " + name + " is not what it says")
		}
		b := newBoundary(domain.RegistryOf(name), log, state)
		b.head = n.Head
		b.start()
		d.namespaces[name] = b
		for _, id := range n.Services {
			d.services[id] = name
		}
		for _, id := range n.Owners {
			d.owners[id] = name
		}
		for _, key := range n.Registry.Keys {
			d.keys[key.Hash] = keyRef{name, key.ID, false}
		}
		for _, key := range n.Registry.Managers {
			d.keys[key.Hash] = keyRef{name, key.ID, true}
		}
	}
	return d, nil
}

// loadDirectory loads the registries, from a snapshot as far as it has them, and gives the
// position up to which they are complete.
func (x *Executor) loadDirectory(ctx context.Context) (uint64, error) {
	if d, from := x.restoreDirectory(ctx); d != nil {
		last, read, err := d.load(ctx, from)
		var unfit *domain.Error
		if !errors.As(err, &unfit) {
			x.directory.become(d)
			x.directoryNew.Store(uint64(read))
			return last, err
		}
		x.ignore(directoryName, err) // it may be the snapshot that does not fit
	}
	d := newDirectory(x.Log)
	last, read, err := d.load(ctx, 0)
	x.directory.become(d)
	x.directoryNew.Store(uint64(read))
	return last, err
}

// restoreDirectory gives the directory as a snapshot has it, and from where on the log has
// to be read; nil where none is of use.
func (x *Executor) restoreDirectory(ctx context.Context) (d *Directory, from uint64) {
	_, raw, ok := x.loadSnapshot(ctx, directoryName, domain.RegistryFold, func(c *domain.Commit) bool { return c.Kind == domain.KindRegistry })
	if !ok {
		return nil, 0
	}
	var kept keptDirectory
	err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&kept)
	if err == nil {
		d, err = kept.restore(x.Log)
	}
	if err != nil {
		x.ignore(directoryName, err)
		return nil, 0
	}
	x.Metrics.snapshot("load", "used")
	return d, kept.From
}

// become takes over what another directory holds, which nobody else uses.
func (d *Directory) become(other *Directory) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.namespaces, d.keys, d.services, d.owners = other.namespaces, other.keys, other.services, other.owners
}

// registryGrown notes that a registry's commit was followed, and has the directory saved
// when enough is new.
func (x *Executor) registryGrown() {
	x.directoryNew.Add(1)
	x.offerDirectory()
}

func (x *Executor) offerDirectory() {
	if x.Snapshots == nil || x.directoryNew.Load() < x.snapshotDue(x.directory.Len()) || !x.directoryQueued.CompareAndSwap(false, true) {
		return
	}
	if !x.saver.offer(x.saveDirectory) {
		x.directoryQueued.Store(false)
	}
}

// saveDirectory saves the directory. If that fails, it is tried again when as much is new
// once more.
func (x *Executor) saveDirectory(ctx context.Context) {
	defer x.directoryQueued.Store(false)
	x.directoryNew.Store(0)
	kept, last := x.directory.keep(x.position.Load())
	x.save(ctx, directoryName, domain.RegistryFold, last, func() ([]byte, error) {
		var out bytes.Buffer
		err := gob.NewEncoder(&out).Encode(kept)
		return out.Bytes(), err
	})
}
