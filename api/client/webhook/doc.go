// Package webhook is for those who receive a ledger's webhooks: it verifies a delivery,
// reads it, and gives every event its effect in the receiver's own database exactly once
// and in order, however often and in whatever order deliveries come. It sends nothing to
// the ledger but the question for what did not come.
//
// # How an event takes effect once
//
// A webhook's events are numbered from 1 without a gap (Event.Sequence). A Receiver keeps
// a Mark, up to which number events took effect, in the database in which they take it,
// and moves it on in the same transaction (Store). An event at or before the mark is a
// repeat, and answered as received. The one after the mark takes effect. One beyond that
// means that others did not come yet: they are pulled from the ledger (Source) and take
// effect first, each in a transaction of its own.
//
// A delivery is answered with 2xx when its effect is committed and not before. If the
// receiver dies in between, or the answer is lost, the event comes again and is a repeat.
//
// # What to do besides
//
// Call CatchUp when the receiver starts, and now and then: it needs no delivery to notice
// that some did not come, and after a long time away, when the ledger has given deliveries
// up, there may be none.
package webhook
