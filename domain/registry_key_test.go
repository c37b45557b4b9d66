package domain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestServiceKeys(t *testing.T) {
	h := registered(t)
	h.accepted(CreateService{"svc", "slug", "Name", ""})
	h.accepted(CreateService{"svc-2", "slug-2", "Name", ""})
	cmd := CreateServiceKey{"k-1", "svc", "first", "sk_live_abcd", hashOf("k-1")}
	if got := h.then(cmd, ServiceKeyCreated{"k-1", "svc", "first", hashOf("k-1"), "sk_live_abcd"}); got.ID != "k-1" {
		t.Errorf("%+v", got)
	}
	if k, ok := h.live.ServiceKey("k-1"); !ok || k != (ServiceKey{"k-1", "svc", "first", "sk_live_abcd", hashOf("k-1"), true, start}) {
		t.Errorf("%+v, %t", k, ok)
	}
	_, err := h.when(CreateServiceKey{KeyID: "k-2", ServiceID: "nobody's", Name: strings.Repeat("x", MaxName+1)})
	expectFields(t, "a long name", err, "name")
	for _, wrong := range []RegistryCommand{
		CreateServiceKey{KeyID: "k-2", ServiceID: "nobody's"},
		DeactivateServiceKey{"k-9", "svc"}, DeactivateServiceKey{"k-1", "svc-2"},
		RevokeServiceKey{"k-9", "svc"}, RevokeServiceKey{"k-1", "svc-2"}, RevokeServiceKey{"k-1", ""},
	} {
		h.refused(wrong, CodeNotFound)
	}
	h.then(DeactivateServiceKey{"k-1", "svc"}, ServiceKeyDeactivated{"k-1", "svc"})
	if k, ok := h.live.ServiceKey("k-1"); !ok || k.Active {
		t.Errorf("%+v, %t", k, ok)
	}
	if got := h.then(DeactivateServiceKey{"k-1", "svc"}); got.ID != "k-1" {
		t.Errorf("%+v", got)
	}
	h.then(RevokeServiceKey{"k-1", "svc"}, ServiceKeyRevoked{"k-1", "svc"})
	if _, ok := h.live.ServiceKey("k-1"); ok {
		t.Error("a revoked key is there")
	}
	h.refused(RevokeServiceKey{"k-1", "svc"}, CodeNotFound)
	h.refused(DeactivateServiceKey{"k-1", "svc"}, CodeNotFound)
	h.accepted(CreateServiceKey{KeyID: "k-3", ServiceID: "svc"})
	h.then(RevokeServiceKey{"k-3", "svc"}, ServiceKeyRevoked{"k-3", "svc"}) // without deactivating first
}

// Only active keys count, those of each service on their own.
func TestServiceKeyLimit(t *testing.T) {
	h := registered(t)
	h.accepted(CreateService{"svc", "slug", "Name", ""})
	h.accepted(CreateService{"svc-2", "slug-2", "Name", ""})
	create := func(i int) CreateServiceKey { return CreateServiceKey{KeyID: fmt.Sprint("k-", i), ServiceID: "svc"} }
	for i := range 10 {
		h.accepted(create(i))
	}
	if m := h.refused(create(10), CodeConflict); !strings.Contains(m, "10") {
		t.Error(m)
	}
	h.accepted(CreateServiceKey{KeyID: "other", ServiceID: "svc-2"})
	h.accepted(DeactivateServiceKey{"k-3", "svc"})
	h.accepted(create(10))
	h.refused(create(11), CodeConflict)
	h.accepted(RevokeServiceKey{"k-3", "svc"}) // was not active: frees nothing
	h.refused(create(11), CodeConflict)
	h.accepted(RevokeServiceKey{"k-4", "svc"})
	h.accepted(create(11))
}

func TestCreateManagementKey(t *testing.T) {
	h := registered(t)
	read := []Permission{PermissionRead}
	cmd := CreateManagementKey{"m-1", "sync", "wxyz", read, Permissions, hashOf("m-1")}
	if got := h.then(cmd, ManagementKeyCreated{"m-1", "sync", read, hashOf("m-1"), "wxyz"}); got.ID != "m-1" {
		t.Errorf("%+v", got)
	}
	k, ok := h.live.ManagementKey("m-1")
	if !ok || !k.Active || k.Name != "sync" || k.LastFour != "wxyz" || !slices.Equal(k.Permissions, read) || k.Hash != hashOf("m-1") {
		t.Errorf("%+v, %t", k, ok)
	}
	for name, c := range map[string]struct {
		name        string
		permissions []Permission
		fields      []string
	}{
		"all":           {"n", Permissions, nil},
		"none":          {"n", nil, []string{"permissions"}},
		"an empty list": {"n", []Permission{}, []string{"permissions"}},
		"unknown":       {"n", []Permission{"read", "admin"}, []string{"permissions[1]"}},
		"upper case":    {"n", []Permission{"READ"}, []string{"permissions[0]"}},
		"twice":         {"n", []Permission{"read", "update-data", "read"}, []string{"permissions[2]"}},
		"no name":       {"", nil, []string{"name", "permissions"}},
		"a long name":   {strings.Repeat("x", MaxName+1), read, []string{"name"}},
	} {
		_, err := registered(t).when(CreateManagementKey{KeyID: "m", Name: c.name, Permissions: c.permissions, Grantor: Permissions})
		expectFields(t, name, err, c.fields...)
	}
}

// Nobody gives, or takes away, what he lacks himself.
func TestGrantors(t *testing.T) {
	key := []Permission{PermissionRead, PermissionDeleteModel}
	for name, c := range map[string]struct {
		grantor []Permission
		good    bool
	}{
		"a session":   {Permissions, true},
		"the same":    {[]Permission{PermissionDeleteModel, PermissionRead}, true},
		"one missing": {[]Permission{PermissionRead, PermissionUpdateModel, PermissionUpdateData, PermissionDeleteData}, false},
		"none":        {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, cmd := range []RegistryCommand{
				CreateManagementKey{KeyID: "m-2", Name: "n", Permissions: key, Grantor: c.grantor},
				DeactivateManagementKey{"m-1", c.grantor},
				DeleteManagementKey{"m-1", c.grantor},
			} {
				h := registered(t)
				h.accepted(CreateManagementKey{KeyID: "m-1", Name: "n", Permissions: key, Grantor: Permissions})
				if c.good {
					h.accepted(cmd)
				} else if m := h.refused(cmd, CodePermissionRequired); len(c.grantor) > 0 && !strings.Contains(m, "delete-model") {
					t.Errorf("%T: the message does not name what is missing: %s", cmd, m)
				}
			}
		})
	}
}

func TestEndManagementKey(t *testing.T) {
	h := filled(t)
	h.refused(DeactivateManagementKey{"m-9", Permissions}, CodeNotFound)
	h.refused(DeleteManagementKey{"m-9", Permissions}, CodeNotFound)
	h.refused(DeactivateManagementKey{"k-1", Permissions}, CodeNotFound) // a service key
	h.then(DeactivateManagementKey{"m-1", Permissions}, ManagementKeyDeactivated{"m-1"})
	if k, ok := h.live.ManagementKey("m-1"); !ok || k.Active {
		t.Errorf("%+v, %t", k, ok)
	}
	h.then(DeactivateManagementKey{"m-1", Permissions})
	h.then(DeleteManagementKey{"m-1", Permissions}, ManagementKeyDeleted{"m-1"})
	h.refused(DeleteManagementKey{"m-1", Permissions}, CodeNotFound)
	h.refused(DeactivateManagementKey{"m-1", Permissions}, CodeNotFound)
}

func TestManagementKeyLimit(t *testing.T) {
	h := registered(t)
	h.limits.ManagementKeys = 2
	create := func(i int) CreateManagementKey {
		return CreateManagementKey{KeyID: fmt.Sprint("m-", i), Name: "n", Permissions: Permissions, Grantor: Permissions}
	}
	h.accepted(create(1))
	h.accepted(create(2))
	h.refused(create(3), CodeConflict)
	h.accepted(DeactivateManagementKey{"m-1", Permissions})
	h.accepted(create(3))
	h.refused(create(4), CodeConflict)
}
