package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// profileRevisions is how many revisions the server keeps of a profile. Profiles
// erase the older ones themselves; a limit of 1 would have the server remove them
// in a way that leaves the bytes on the disk. It is what a bucket can have most.
const profileRevisions = 64

// Profile is what is known of an owner beyond the record.
type Profile struct {
	Email string `json:"email,omitempty"`
	Name  string `json:"name,omitempty"`
}

// Profiles holds owners' profiles by owner id. It is beside the log because a
// person may ask for them to be erased, which the log never does: an erased value
// is overwritten on the server's disk. (On a cluster, the replication's own log
// keeps it until that is compacted, minutes of use later.)
type Profiles struct {
	js     jetstream.JetStream
	bucket jetstream.Stream
}

func ownerSubject(owner string) string { return "$KV." + ownersBucket + "." + owner }

// Put stores an owner's profile and erases what was there before.
func (p *Profiles) Put(ctx context.Context, owner string, profile Profile) error {
	value, err := json.Marshal(profile)
	if err != nil {
		return err
	}
	ack, err := p.js.Publish(ctx, ownerSubject(owner), value)
	if err != nil {
		return unavailable(err)
	}
	return p.erase(ctx, owner, ack.Sequence)
}

// Get reads an owner's profile; found is false when there is none.
func (p *Profiles) Get(ctx context.Context, owner string) (profile Profile, found bool, err error) {
	msg, err := p.bucket.GetLastMsgForSubject(ctx, ownerSubject(owner))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Profile{}, false, nil
	}
	if err != nil {
		return Profile{}, false, unavailable(err)
	}
	if err := json.Unmarshal(msg.Data, &profile); err != nil {
		return Profile{}, false, fmt.Errorf("read the profile of %s: %w", owner, err)
	}
	return profile, true, nil
}

// Delete erases an owner's profile.
func (p *Profiles) Delete(ctx context.Context, owner string) error {
	msg, err := p.bucket.GetLastMsgForSubject(ctx, ownerSubject(owner))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	return p.erase(ctx, owner, msg.Sequence+1)
}

// erase overwrites all revisions before a sequence. If we stop between storing and
// erasing, the next Put or Delete of the owner erases the rest.
func (p *Profiles) erase(ctx context.Context, owner string, before uint64) error {
	for {
		msg, err := p.bucket.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(ownerSubject(owner)))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return unavailable(err)
		case msg.Sequence >= before:
			return nil
		}
		if err := p.bucket.SecureDeleteMsg(ctx, msg.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return unavailable(err)
		}
	}
}

// Usage holds when keys were last used, by key id. It is beside the log because it
// changes with every use, and nothing is decided on it.
type Usage struct {
	bucket jetstream.KeyValue
}

func openUsage(ctx context.Context, js jetstream.JetStream) (*Usage, error) {
	bucket, err := js.KeyValue(ctx, usageBucket)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", usageBucket, unavailable(err))
	}
	return &Usage{bucket}, nil
}

// Touch records when keys were used. The last call wins, so a time may step back
// by as much as the clocks and the calls of two processes differ.
func (u *Usage) Touch(ctx context.Context, used map[string]time.Time) error {
	for key, at := range used {
		value, err := at.UTC().MarshalText()
		if err != nil {
			return err
		}
		if _, err := u.bucket.Put(ctx, key, value); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// All reads when each key was last used.
func (u *Usage) All(ctx context.Context) (map[string]time.Time, error) {
	watch, err := u.bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, unavailable(err)
	}
	defer watch.Stop()
	all := make(map[string]time.Time)
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case entry := <-watch.Updates():
			if entry == nil {
				return all, nil
			}
			var at time.Time
			if err := at.UnmarshalText(entry.Value()); err != nil {
				return nil, fmt.Errorf("read the last use of %s: %w", entry.Key(), err)
			}
			all[entry.Key()] = at
		}
	}
}
