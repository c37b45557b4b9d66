package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// candidates are the accounts that may run the server for root: PostgreSQL's
// own, and the one that every system has.
var candidates = []string{"postgres", "nobody"}

// account runs the server in root's place. A nil one stands for ourselves, and
// its methods then change nothing.
type account struct {
	name     string
	uid, gid int
}

// serverAccount is the owner of the cluster, or the first candidate when there
// is none yet.
func serverAccount(data string) (*account, error) {
	info, err := os.Lstat(data)
	switch {
	case err == nil:
		st := info.Sys().(*syscall.Stat_t)
		if st.Uid == 0 {
			return nil, fmt.Errorf("%s belongs to root, and PostgreSQL refuses to run as root: "+
				"give it to the account that is to run it (chown -R)", data)
		}
		acct := &account{name: "uid " + strconv.Itoa(int(st.Uid)), uid: int(st.Uid), gid: int(st.Gid)}
		if u, err := user.LookupId(strconv.Itoa(acct.uid)); err == nil {
			acct.name = u.Username
		}
		return acct, nil
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	for _, name := range candidates {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.Atoi(u.Uid)
		gid, errGID := strconv.Atoi(u.Gid)
		if errUID == nil && errGID == nil && uid != 0 {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no account to run it: " +
		"make one named postgres, run claimledger as an ordinary user, or use --database-url")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

func (a *account) ownFile(f *os.File) error {
	if a == nil {
		return nil
	}
	return f.Chown(a.uid, a.gid)
}

// suffix names the account in an error.
func (a *account) suffix() string {
	if a == nil {
		return ""
	}
	return " as " + a.name
}

// canEnter has the kernel answer, which knows of access lists and the like: a
// process of that account tries to make dir its working directory.
func (a *account) canEnter(dir string) (bool, error) {
	cmd := exec.Command("/bin/sh", "-c", ":")
	cmd.Dir = dir
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: a.credential()}
	err := cmd.Run()
	if errors.Is(err, os.ErrPermission) && !errors.Is(err, syscall.EPERM) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("PostgreSQL refuses to run as root, and running a program as %s fails: %w: "+
			"run claimledger as an ordinary user, or use --database-url", a.name, err)
	}
	return true, nil
}
