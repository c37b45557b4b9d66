package bench

const tmpfs = "tmpfs"

// InMemory tells whether a directory is on a file system that has no disk, where a sync
// costs nothing and no figure of a write means anything.
func InMemory(dir string) bool {
	kind := FileSystem(dir)
	return kind == tmpfs || kind == "ramfs"
}
