package bench

import (
	"fmt"
	"syscall"
)

// Numbers of file systems, as statfs(2) has them.
var fileSystems = map[int64]string{
	0x01021994: tmpfs, 0x858458f6: "ramfs", 0xEF53: "ext", 0x58465342: "xfs", 0x9123683E: "btrfs",
	0x794c7630: "overlay", 0x2FC12FC1: "zfs", 0x6969: "nfs",
}

// FileSystem is the kind of the file system that a directory is on; empty where it
// cannot be told.
func FileSystem(dir string) string {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return ""
	}
	kind := int64(st.Type) & 0xFFFFFFFF
	if name, ok := fileSystems[kind]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", kind)
}
