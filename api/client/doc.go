// Package client is a ledger's client: a method for each operation of its API, under the
// name that the API's description gives it, and Cache, with which a gateway answers from
// memory who may use its service. It never decides anything by itself, but that what a
// cache no longer knows is not approved.
//
// # Credentials
//
// A Config has what the caller is to show. A service submits claims and follows its feed
// with its key and a signature; an owner or his program decides with a session or a
// management key; verify and the lookup of a namespace want a signature, and verify takes
// a service key. An operation that lacks what it needs is refused before anything is sent.
//
// # Retries
//
// What can be sent again without harm is: every read, and every command under an
// Idempotency-Key, which the client makes where the caller gives none. It is signed anew
// each time. A transport's failure, 429, 502, 503 and 504 are tried again up to
// Config.Attempts times, after a wait that doubles and is spread at random, or for as long
// as Retry-After says. What is under /v1/auth is sent once. After a command has failed for
// good with anything but a refusal, its outcome may be unknown: give it a key of your own
// (IdempotencyKey) and send it again with that.
//
// # Reading one's own writes
//
// Answers have the position of the ledger that they reflect (Into), and a read with
// AtLeast waits until it reflects that much, on whatever node. With Config.ReadYourWrites
// the client does both by itself.
package client
