package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxEvent bounds one event: a change of the history is at most 8 MiB.
const maxEvent = 16 << 20

// sseReader reads server-sent events.
type sseReader struct{ sc *bufio.Scanner }

func newSSEReader(r io.Reader) *sseReader {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxEvent)
	return &sseReader{sc}
}

// sseEvent is one event; name is "" if there was nothing but an id.
type sseEvent struct {
	name  string
	data  string
	id    uint64
	hasID bool
}

// next returns the next event or id; io.EOF at the end of the stream, where half an event counts for nothing.
func (r *sseReader) next() (sseEvent, error) {
	var e sseEvent
	var data []string
	for r.sc.Scan() {
		line := r.sc.Text()
		if line == "" {
			if e.name != "" || e.hasID || data != nil {
				e.data = strings.Join(data, "\n")
				return e, nil
			}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		case "id":
			id, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return e, fmt.Errorf("the id of an event is no log index: %q", value)
			}
			e.id, e.hasID = id, true
		}
	}
	if err := r.sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return e, fmt.Errorf("an event is over %d bytes", maxEvent)
	} else if err != nil {
		return e, err
	}
	return e, io.EOF
}
