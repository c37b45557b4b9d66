//go:build unix

package api

import "syscall"

// directWrites tells that writeNow works here.
const directWrites = true

// writeNow writes as much as can be written without waiting. An error is not told: it comes
// again with the next write.
func writeNow(raw syscall.RawConn, b []byte) (n int) {
	_ = raw.Write(func(fd uintptr) bool {
		for {
			var err error
			if n, err = syscall.Write(int(fd), b); err != syscall.EINTR {
				n = max(n, 0)
				return true
			}
		}
	})
	return n
}
