//go:build race

package main

// raceCost is how many times the memory a process may take that the race detector watches.
const raceCost = 4
