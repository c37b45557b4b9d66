package pgserver_test

import "testing"

func TestServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := startProcess(t, dir)
	p.kill(t)
	eventually(t, "the end of PostgreSQL", func() bool { return gone(p.postmaster) })
	start(t, dir)
}
