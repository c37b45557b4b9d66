package domain

import "testing"

func TestLoginTokenNamesItsNamespace(t *testing.T) {
	for _, namespace := range []string{"acme", "a-1"} {
		// A secret may have whatever separates it from the namespace.
		if got, ok := LoginTokenNamespace(FormatLoginToken(namespace, "se_cr_et")); !ok || got != namespace {
			t.Errorf("%s: %s, %t", namespace, got, ok)
		}
	}
	for _, bad := range []string{"", "login_", "login_acme", "login_acme_", "login__secret", "login_a_secret", "acme_secret", "LOGIN_acme_secret", "login_Acme_secret", "login_a.b.c_secret"} {
		if got, ok := LoginTokenNamespace(bad); ok {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
