// Package webhookrelay delivers the recorded events of claims to the webhooks that
// subscribed to them: at least once, signed, one claim's events in order, and without
// letting one endpoint's trouble reach another. It never decides or records what
// happened, never asks a read model, and never writes to the log.
//
// # How an event gets out
//
// The assigner, one process at a time, reads the log and writes what is to be
// delivered: in one transaction each event with its body, a row for each webhook that it
// goes to, with the webhook's next sequence number, and the checkpoint up to which the log
// was read. Whatever dies at whatever moment, an event is in exactly one of two places:
// after the checkpoint in the log, or in the tables.
//
// What is fresh is attempted in the order of its sequence, and needs no other entry than its
// row; what has to wait for its time or for an earlier event of its claim is in a queue, see
// migrations/0007_lanes.sql.
//
// The deliverer, in every process, takes webhooks that have something due, each of which one
// process has at a time, attempts their deliveries, and writes what came of one before it,
// or the next one of the same claim, is attempted again. If a process dies after sending and
// before writing, the others see it go, or its time with the webhook runs out, and the event
// is sent again with the same id: receivers tell repeats apart by it.
//
// # What must be kept
//
// The schema webhookrelay is the one part of PostgreSQL that cannot be rebuilt. The
// bodies and sequence numbers follow from the log alone, but what was delivered
// already does not. On an empty schema the relay starts at the beginning of the log
// and sends everything that the webhooks subscribed to once more. Back the schema up,
// and restore it only together with a log that is at least as new.
package webhookrelay
