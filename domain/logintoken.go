package domain

import "strings"

const loginTokenPrefix = "login_"

// FormatLoginToken writes a one-time login token of a namespace around its secret. It
// names the namespace, in whose registry its hash is recorded.
func FormatLoginToken(namespace, secret string) string {
	return loginTokenPrefix + namespace + "_" + secret
}

// LoginTokenNamespace is the namespace that a login token is for.
func LoginTokenNamespace(token string) (string, bool) {
	rest, ok := strings.CutPrefix(token, loginTokenPrefix)
	if !ok {
		return "", false
	}
	// A namespace has no underscore.
	namespace, secret, ok := strings.Cut(rest, "_")
	return namespace, ok && secret != "" && ValidNamespace(namespace) && CanonicalNamespace(namespace) == namespace
}
