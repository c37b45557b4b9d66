// Package projections derives read models from the log and answers queries from
// them. A model is a pure function of the commits up to its checkpoint: it can be
// dropped and rebuilt at any time, and nothing else rests on it. The package never
// decides anything and never writes to the log.
//
// A Projector follows the log and brings one model up to date; a Reader answers from
// what is there, and says how old that is.
//
// Each generation of a model is a PostgreSQL schema of its own, and its checkpoint a
// row of projections.generations. Batches of commits and the checkpoint move in one
// transaction, and a reader finds the generation that serves, its checkpoint and its
// rows in one snapshot; so an answer is always the fold of the log up to the position
// that it names.
package projections
