// Package api translates HTTP to commands and queries, and errors to statuses. It
// never decides what may happen, and never knows where anything is stored.
package api
