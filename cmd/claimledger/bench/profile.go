package bench

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// command is what a ledger's process can be asked for besides serving: that a CPU
// profile begins, or ends.
type command struct {
	// Start is where profiles are written, without their endings.
	Start string `json:"start,omitempty"`
	Stop  bool   `json:"stop,omitempty"`
}

type obeyed struct {
	Error string `json:"error"`
}

// Control does in a ledger's process what the bench asks for. Its zero value is ready.
type Control struct {
	path string
	cpu  *os.File
}

// Do begins or ends a CPU profile. What was allocated since the process began is written
// at both moments, so that the difference is what the load allocated.
func (c *Control) Do(cmd command) (obeyed, error) {
	var err error
	switch {
	case cmd.Start != "":
		err = c.start(cmd.Start)
	case cmd.Stop:
		err = c.stop()
	}
	if err != nil {
		return obeyed{err.Error()}, nil
	}
	return obeyed{}, nil
}

func (c *Control) start(path string) (err error) {
	c.path = path
	if err := writeAllocations(path + ".allocs-before.pprof"); err != nil {
		return err
	}
	if c.cpu, err = os.Create(path + ".cpu.pprof"); err != nil {
		return err
	}
	return pprof.StartCPUProfile(c.cpu)
}

func (c *Control) stop() error {
	pprof.StopCPUProfile()
	return errors.Join(c.cpu.Close(), writeAllocations(c.path+".allocs.pprof"))
}

func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	runtime.GC() // what was allocated shows up in the profile with the next collection
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
