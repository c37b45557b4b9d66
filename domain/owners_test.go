package domain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// addPasskey gives an owner a passkey whose id at the authenticator is like its own.
func addPasskey(owner, passkey string) AddPasskey {
	return AddPasskey{
		OwnerID: owner, PasskeyID: passkey, Name: "phone",
		Credential: Credential{ID: []byte("credential " + passkey), PublicKey: []byte("key"), Transports: []string{"internal"}},
		Challenge:  Challenge{hashOf("add " + passkey), start.Add(5 * time.Minute)},
	}
}

// signIn answers a challenge of its own with a passkey that has signed so often.
func signIn(owner, passkey string, count uint32) SignIn {
	return SignIn{
		OwnerID: owner, PasskeyID: passkey, SignCount: count, Challenge: Challenge{hashOf(fmt.Sprint("in ", passkey, count)), start.Add(5 * time.Minute)},
		Session: Session{fmt.Sprint("session ", count), start.Add(12 * time.Hour)},
	}
}

func TestOwnersComeAndGo(t *testing.T) {
	h := registered(t)
	token := LoginToken{hashOf("token-2"), start.Add(15 * time.Minute)}
	h.refused(RemoveOwner{"owner-1"}, CodeConflict) // the last one
	h.refused(RemoveOwner{"owner-2"}, CodeNotFound)
	answer := h.then(AddOwner{"owner-2", token}, OwnerAdded{"owner-2"}, LoginTokenIssued{"owner-2", token.Hash, token.ExpiresAt})
	if answer != (RegistryAnswer{ID: "acme", OwnerID: "owner-2"}) {
		t.Errorf("%+v", answer)
	}
	h.refused(AddOwner{"owner-2", token}, CodeConflict)
	h.accepted(UseLoginToken{token.Hash, "session", start.Add(time.Hour)})

	h.accepted(IssueLoginToken{"owner-1", LoginToken{hashOf("token-3"), start.Add(15 * time.Minute)}})
	h.accepted(addPasskey("owner-1", "p-1"))
	h.accepted(addPasskey("owner-2", "p-2"))
	h.then(RemoveOwner{"owner-1"}, OwnerRemoved{"owner-1", "owner-2"})
	r := h.live
	if r.HasOwner("owner-1") || r.Owner() != "owner-2" || len(r.Owners()) != 1 || len(r.Passkeys("owner-1")) != 0 || len(r.Passkeys("owner-2")) != 1 {
		t.Errorf("%+v", r)
	}
	// What he had is worth nothing any more.
	h.refused(UseLoginToken{hashOf("token-3"), "session", start.Add(time.Hour)}, CodeUnauthorized)
	h.refused(signIn("owner-1", "p-1", 0), CodeUnauthorized)
	h.refused(addPasskey("owner-1", "p-3"), CodeNotFound)
	h.accepted(signIn("owner-2", "p-2", 0))
	h.refused(RemoveOwner{"owner-2"}, CodeConflict)

	for i := 3; i <= MaxOwners+1; i++ {
		h.accepted(AddOwner{fmt.Sprint("owner-", i), LoginToken{hashOf(fmt.Sprint(i)), token.ExpiresAt}})
	}
	h.refused(AddOwner{"owner-99", token}, CodeConflict)
}

func TestAddPasskey(t *testing.T) {
	h := registered(t)
	add := addPasskey("owner-1", "p-1")
	add.Credential = Credential{[]byte("id"), []byte("key"), 7, nil, true, true, "00000000-0000-0000-0000-000000000001"}
	h.then(add, PasskeyAdded{
		PasskeyID: "p-1", OwnerID: "owner-1", Name: "phone", CredentialID: []byte("id"), PublicKey: []byte("key"), SignCount: 7,
		BackupEligible: true, BackedUp: true, AAGUID: "00000000-0000-0000-0000-000000000001",
		ChallengeHash: add.Challenge.Hash, ChallengeExpiresAt: add.Challenge.ExpiresAt,
	})
	if k, ok := h.live.Passkey("p-1"); !ok || k.Name != "phone" || k.SignCount != 7 || k.LastUsedAt != nil || !k.CreatedAt.Equal(start) {
		t.Errorf("%+v", k)
	}
	for name, test := range map[string]struct {
		change func(*AddPasskey)
		code   Code
	}{
		"the same passkey":   {func(a *AddPasskey) { a.Credential.ID = []byte("id") }, CodeConflict},
		"the same challenge": {func(a *AddPasskey) { a.Challenge = add.Challenge }, CodeConflict},
		"too late":           {func(a *AddPasskey) { a.Challenge.ExpiresAt = start }, CodeConflict},
		"nobody's":           {func(a *AddPasskey) { a.OwnerID = "owner-2" }, CodeNotFound},
		"no name":            {func(a *AddPasskey) { a.Name = "" }, CodeInvalidRequest},
		"a long name":        {func(a *AddPasskey) { a.Name = strings.Repeat("n", MaxName+1) }, CodeInvalidRequest},
		"no id":              {func(a *AddPasskey) { a.Credential.ID = nil }, CodeInvalidRequest},
		"a long id":          {func(a *AddPasskey) { a.Credential.ID = make([]byte, MaxCredentialID+1) }, CodeInvalidRequest},
		"no key":             {func(a *AddPasskey) { a.Credential.PublicKey = nil }, CodeInvalidRequest},
		"a long key":         {func(a *AddPasskey) { a.Credential.PublicKey = make([]byte, maxPublicKey+1) }, CodeInvalidRequest},
		"many transports":    {func(a *AddPasskey) { a.Credential.Transports = make([]string, maxTransports+1) }, CodeInvalidRequest},
		"an empty transport": {func(a *AddPasskey) { a.Credential.Transports = []string{""} }, CodeInvalidRequest},
		"a long make":        {func(a *AddPasskey) { a.Credential.AAGUID = strings.Repeat("0", 37) }, CodeInvalidRequest},
		"the longest that there are": {func(a *AddPasskey) {
			a.Credential.ID, a.Name = make([]byte, MaxCredentialID), strings.Repeat("n", MaxName)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			cmd := addPasskey("owner-1", "p-2")
			test.change(&cmd)
			h.refused(cmd, test.code)
		})
	}
	h.t = t
	for i := len(h.live.Passkeys("owner-1")); i < MaxPasskeys; i++ {
		h.accepted(addPasskey("owner-1", fmt.Sprint("more ", i)))
	}
	h.refused(addPasskey("owner-1", "one more"), CodeConflict)
	h.refused(RemovePasskey{"owner-2", "p-1"}, CodeNotFound)
	h.refused(RemovePasskey{"owner-1", "p-99"}, CodeNotFound)
	for _, k := range h.live.Passkeys("owner-1") { // the last one too
		h.then(RemovePasskey{"owner-1", k.ID}, PasskeyRemoved{k.ID, "owner-1"})
	}
	h.refused(RemovePasskey{"owner-1", "p-1"}, CodeNotFound)
}

func TestSignIn(t *testing.T) {
	h := registered(t)
	h.accepted(addPasskey("owner-1", "p-1"))
	h.accepted(AddOwner{"owner-2", LoginToken{hashOf("t"), start.Add(time.Hour)}})
	cmd := signIn("owner-1", "p-1", 0)
	cmd.BackedUp = true
	expires := cmd.Challenge.ExpiresAt
	answer := h.then(cmd, OwnerSignedIn{"owner-1", "p-1", "session 0", start.Add(12 * time.Hour), 0, true, cmd.Challenge.Hash, &expires})
	if answer != (RegistryAnswer{ID: "session 0", OwnerID: "owner-1"}) {
		t.Errorf("%+v", answer)
	}
	if k, _ := h.live.Passkey("p-1"); !k.BackedUp || k.LastUsedAt == nil || !k.LastUsedAt.Equal(start) {
		t.Errorf("%+v", k)
	}
	h.refused(cmd, CodeUnauthorized) // the challenge was answered
	cmd.Challenge.ExpiresAt = start.Add(time.Hour)
	h.refused(cmd, CodeUnauthorized) // whatever the signature says of its end

	late := signIn("owner-1", "p-1", 1)
	late.Challenge.ExpiresAt = start
	h.refused(late, CodeUnauthorized)
	h.refused(signIn("owner-2", "p-1", 1), CodeUnauthorized)
	h.refused(signIn("owner-1", "p-2", 1), CodeUnauthorized)
	h.accepted(RemovePasskey{"owner-1", "p-1"})
	h.refused(signIn("owner-1", "p-1", 1), CodeUnauthorized)
}

// An authenticator that counts must be ahead of what it told before.
func TestSignCount(t *testing.T) {
	for _, test := range []struct {
		counts []uint32
		last   Code
	}{
		{[]uint32{0, 0, 0}, ""}, // it does not count
		{[]uint32{0, 1, 2}, ""},
		{[]uint32{5, 6, 10}, ""},
		{[]uint32{5, 5}, CodeUnauthorized},
		{[]uint32{5, 7, 6}, CodeUnauthorized},
		{[]uint32{5, 0}, CodeUnauthorized},
		{[]uint32{0, 1, 0}, CodeUnauthorized},
		{[]uint32{0, 1<<32 - 1, 1}, CodeUnauthorized},
	} {
		t.Run(fmt.Sprint(test.counts), func(t *testing.T) {
			h := registered(t)
			add := addPasskey("owner-1", "p-1")
			add.Credential.SignCount = test.counts[0]
			h.accepted(add)
			for i, count := range test.counts[1:] {
				cmd := signIn("owner-1", "p-1", count)
				cmd.Challenge.Hash = hashOf(fmt.Sprint(i))
				if i < len(test.counts)-2 || test.last == "" {
					h.accepted(cmd)
				} else {
					h.refused(cmd, test.last)
				}
			}
		})
	}
}

// A challenge is remembered for as long as it could be answered, and not forever.
func TestChallengesAreForgotten(t *testing.T) {
	h := registered(t)
	h.accepted(addPasskey("owner-1", "p-1"))
	h.accepted(signIn("owner-1", "p-1", 1))
	h.after(5 * time.Minute)
	h.accepted(DeactivateNamespace{})
	if n := len(h.live.challenges); n != 2 {
		t.Errorf("%d challenges are remembered", n)
	}
	h.after(time.Nanosecond)
	h.accepted(ActivateNamespace{})
	if n := len(h.live.challenges); n != 0 {
		t.Errorf("%d challenges are remembered", n)
	}
}

func TestSignUp(t *testing.T) {
	h := newRegistryHistory(t)
	cmd := SignUp{AddPasskey: addPasskey("owner-1", "p-1"), Session: Session{"session", start.Add(time.Hour)}}
	cmd.Credential.SignCount = 3
	late, nameless := cmd, cmd
	late.Challenge.ExpiresAt, nameless.Name = start, ""
	h.refused(late, CodeConflict)
	h.refused(nameless, CodeInvalidRequest)
	answer := h.then(cmd, NamespaceRegistered{"acme", "owner-1"}, cmd.event(),
		OwnerSignedIn{OwnerID: "owner-1", PasskeyID: "p-1", SessionID: "session", ExpiresAt: start.Add(time.Hour), SignCount: 3})
	if answer != (RegistryAnswer{ID: "acme", OwnerID: "owner-1"}) {
		t.Errorf("%+v", answer)
	}
	again := cmd
	again.Challenge.Hash = hashOf("another")
	h.refused(again, CodeConflict)
	in := signIn("owner-1", "p-1", 4)
	in.Challenge = cmd.Challenge
	h.refused(in, CodeUnauthorized) // the challenge was answered
	h.accepted(signIn("owner-1", "p-1", 4))
	for _, name := range []string{"claims", "Acme", "ab", ""} {
		_, err := NewRegistry(name).Decide(cmd, CommandRef{}, DefaultOwnerLimits(), start)
		expectFields(t, name, err, "namespace")
	}
}

// Commits that no decision could have led to.
func TestOwnerEventsThatMakeNoSense(t *testing.T) {
	soon := start.Add(time.Minute)
	in := OwnerSignedIn{"owner-1", "p-1", "s", soon, 1, false, hashOf("c"), &soon}
	for name, payloads := range map[string][]Payload{
		"an owner twice":            {OwnerAdded{"owner-1"}},
		"nobody removed":            {OwnerRemoved{"owner-3", "owner-1"}},
		"the wrong one first":       {OwnerRemoved{"owner-2", "owner-2"}},
		"nobody left":               {OwnerRemoved{"owner-2", "owner-1"}, OwnerRemoved{"owner-1", ""}},
		"nobody's passkey":          {PasskeyAdded{PasskeyID: "p-9", OwnerID: "owner-3", ChallengeHash: hashOf("c")}},
		"a passkey twice":           {PasskeyAdded{PasskeyID: "p-1", OwnerID: "owner-1", ChallengeHash: hashOf("c")}},
		"a challenge twice":         {in, in},
		"no passkey":                {OwnerSignedIn{OwnerID: "owner-1", PasskeyID: "p-9"}},
		"another's passkey":         {OwnerSignedIn{OwnerID: "owner-2", PasskeyID: "p-1"}},
		"a passkey removed twice":   {PasskeyRemoved{"p-1", "owner-1"}, PasskeyRemoved{"p-1", "owner-1"}},
		"a passkey after its owner": {OwnerRemoved{"owner-1", "owner-2"}, OwnerSignedIn{OwnerID: "owner-1", PasskeyID: "p-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := filled(t).record(CommandRef{}, nil, payloads); err == nil {
				t.Error("it was applied")
			}
		})
	}
}

// What was handed out does not change with the registry.
func TestOwnersAreHandedOutAsTheyAre(t *testing.T) {
	h := registered(t)
	before := h.live.Owners()
	kept := slices.Clone(before)
	h.accepted(AddOwner{"owner-2", LoginToken{hashOf("t"), start.Add(time.Hour)}})
	h.accepted(RemoveOwner{"owner-1"})
	if !slices.Equal(before, kept) {
		t.Errorf("%v became %v", kept, before)
	}
}
