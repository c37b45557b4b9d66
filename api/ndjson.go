package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ndjsonType is one JSON value a line.
const ndjsonType = "application/x-ndjson"

// lines gives a long answer part by part, none at its end.
type lines func(context.Context) ([]any, error)

// wantsLines tells whether a client prefers NDJSON. Everyone else gets JSON, whatever
// the client asks for: RFC 9110, 12.4.1 lets a server disregard Accept.
func wantsLines(r *http.Request) bool {
	var ndjson, plain float64
	for _, header := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(header, ",") {
			media, parameters, err := mime.ParseMediaType(item)
			if err != nil {
				continue
			}
			quality := 1.0
			if q, ok := parameters["q"]; ok {
				if quality, err = strconv.ParseFloat(q, 64); err != nil {
					continue
				}
			}
			switch media {
			case ndjsonType:
				ndjson = max(ndjson, quality)
			case "application/json":
				plain = max(plain, quality)
			}
		}
	}
	return ndjson > plain
}

// writeLines writes a long answer. How long it takes is the client's affair: what is
// bounded is the time for each part. A client must know whether it has everything, so an
// answer that cannot go on is broken off and not ended.
func (s *Server) writeLines(w http.ResponseWriter, c *call, e endpoint, a answer) {
	w.Header().Set(positionHeader, strconv.FormatUint(a.position, 10))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", ndjsonType)
	w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return
	}
	// The server's own deadlines are for answers of one piece.
	control := http.NewResponseController(w)
	err := control.SetReadDeadline(time.Time{})
	out := bufio.NewWriter(w)
	for end := false; err == nil && !end; {
		if err = control.SetWriteDeadline(time.Now().Add(requestTimeout)); err == nil {
			end, err = s.streamPart(c, e, a, out)
		}
		err = errors.Join(err, out.Flush(), control.Flush())
	}
	if err != nil {
		s.config.Logger.Debug("broke an answer off", "route", e.path, "request_id", c.id, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// streamPart writes the next part, for as long as the caller may have it: a key or
// session that ended meanwhile ends the answer.
func (s *Server) streamPart(c *call, e endpoint, a answer, out *bufio.Writer) (end bool, err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), requestTimeout)
	defer cancel()
	again := *c
	if err := s.authenticate(ctx, &again, e); err != nil {
		return false, err
	}
	if err := again.owner.need(e.permission); err != nil {
		return false, err
	}
	part, err := a.lines(ctx)
	if err != nil || len(part) == 0 {
		return true, err
	}
	encoder := json.NewEncoder(out)
	for _, line := range part {
		if err := encoder.Encode(line); err != nil {
			return false, err
		}
	}
	return false, nil
}
