// Package domain decides what may happen to agent authorizations: given what is
// recorded, a command and the time, it answers with the events to record or with
// a refusal. It is pure: it does no I/O, reads no clock, makes no random choices,
// and imports nothing but the standard library and ulid.
package domain
