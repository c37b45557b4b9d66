package domain

import (
	"crypto/sha256"
	"encoding/binary"
)

// chainPrefix keeps the running hash apart from every other hash of the same bytes.
const chainPrefix = "claimledger-log-v1\n"

// Chain is the log up to a position in one hash. The zero Chain is the empty log;
// a commit takes it on by
//
//	Hash' = SHA-256("claimledger-log-v1\n" ‖ Hash ‖ position ‖ SHA-256(stored bytes))
//
// with the position as 8 bytes, most significant first, and 32 zero bytes as the Hash
// of the empty log. Everything in it has a fixed length, so that what was dropped,
// swapped, inserted, altered or numbered anew makes another hash, and a log that was
// cut off has that of an earlier position. It takes nothing but positions and stored
// bytes: whoever has an export of them can compute it.
type Chain struct {
	Position uint64 // of the last commit; 0: none
	Count    uint64 // of commits
	Hash     Hash
}

// Then is the chain with one more commit, whose stored bytes have the hash. The
// ledger's order, without a gap, is the caller's to see to.
func (c Chain) Then(position uint64, commit Hash) Chain {
	link := make([]byte, 0, len(chainPrefix)+len(c.Hash)+8+len(commit))
	link = append(link, chainPrefix...)
	link = append(link, c.Hash[:]...)
	link = binary.BigEndian.AppendUint64(link, position)
	link = append(link, commit[:]...)
	return Chain{Position: position, Count: c.Count + 1, Hash: sha256.Sum256(link)}
}
