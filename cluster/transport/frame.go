package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A request and its answer on an rpc connection, one at a time:
//
//	request  kind:u8=1 | method length:u8 | timeout:u32 ms, 0 none | body length:u32 | method | body
//	answer   kind:u8   | body length:u32  | body
//
// The body of an answerError is "length:u8 code message", that of an
// answerRefused "refusal:u8 reason", that of an answerUnknown a reason.
const (
	kindRequest = 1

	answerOK      = 0
	answerError   = 1
	answerRefused = 2
	answerUnknown = 3 // the handler was interrupted by its context

	requestHead = 1 + 1 + 4 + 4
	answerHead  = 1 + 4

	// eager is how much is allocated on the word of a length field alone;
	// beyond it memory follows the bytes that really arrive.
	eager = 64 << 10
)

var errFrame = errors.New("malformed frame")

// tooLarge is a frame whose length field exceeds the limit.
type tooLarge struct{ size, limit int64 }

func (e tooLarge) Error() string {
	return fmt.Sprintf("message of %d bytes exceeds the limit of %d", e.size, e.limit)
}

func (e tooLarge) Is(target error) bool { return target == ErrTooLarge }

type request struct {
	method  string
	timeout time.Duration // 0 = none
	body    []byte
}

type reply struct {
	kind byte
	body []byte
}

func writeRequest(w *bufio.Writer, q request) error {
	var head [requestHead]byte
	head[0] = kindRequest
	head[1] = byte(len(q.method))
	ms := q.timeout.Milliseconds()
	if q.timeout > 0 {
		ms = min(max(ms, 1), 1<<32-1)
	}
	binary.BigEndian.PutUint32(head[2:], uint32(ms))
	binary.BigEndian.PutUint32(head[6:], uint32(len(q.body)))
	_, _ = w.Write(head[:]) // bufio keeps the first error for Flush
	_, _ = w.WriteString(q.method)
	_, _ = w.Write(q.body)
	return w.Flush()
}

func readRequest(r *bufio.Reader, limit int64) (request, error) {
	var head [requestHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return request{}, err
	}
	if head[0] != kindRequest || head[1] == 0 {
		return request{}, errFrame
	}
	q := request{timeout: time.Duration(binary.BigEndian.Uint32(head[2:])) * time.Millisecond}
	method := make([]byte, head[1])
	if _, err := io.ReadFull(r, method); err != nil {
		return request{}, noEOF(err)
	}
	q.method = printable(string(method))
	var err error
	q.body, err = readBody(r, int64(binary.BigEndian.Uint32(head[6:])), limit)
	return q, err
}

func writeReply(w *bufio.Writer, a reply) error {
	var head [answerHead]byte
	head[0] = a.kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(a.body)))
	_, _ = w.Write(head[:])
	_, _ = w.Write(a.body)
	return w.Flush()
}

func readReply(r *bufio.Reader, limit int64) (reply, error) {
	var head [answerHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return reply{}, err
	}
	if head[0] > answerUnknown {
		return reply{}, errFrame
	}
	body, err := readBody(r, int64(binary.BigEndian.Uint32(head[1:])), limit)
	return reply{kind: head[0], body: body}, err
}

func readBody(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, tooLarge{size, limit}
	}
	if size == 0 {
		return nil, nil
	}
	buf := make([]byte, 0, min(size, eager))
	for int64(len(buf)) < size {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(size, int64(2*cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return nil, noEOF(err)
		}
	}
	return buf, nil
}

// noEOF turns an end of file inside a frame into what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// remoteReply encodes what a handler returned.
func remoteReply(e *RemoteError) reply {
	code := clip(e.Code, 255)
	body := make([]byte, 0, 1+len(code)+len(e.Msg))
	body = append(body, byte(len(code)))
	body = append(body, code...)
	return reply{kind: answerError, body: append(body, e.Msg...)}
}

func refusedReply(code refusal, reason string) reply {
	return reply{kind: answerRefused, body: append([]byte{byte(code)}, reason...)}
}

// err is the error an answer stands for; nil for answerOK.
func (a reply) err(p Peer) error {
	switch a.kind {
	case answerOK:
		return nil
	case answerRefused:
		if len(a.body) == 0 {
			return errFrame
		}
		return &RefusedError{Peer: p, code: refusal(a.body[0]), Reason: printable(string(a.body[1:]))}
	case answerUnknown:
		return fmt.Errorf("the handler was interrupted: %s", printable(string(a.body)))
	default:
		if len(a.body) == 0 || len(a.body)-1 < int(a.body[0]) {
			return errFrame
		}
		n := 1 + int(a.body[0])
		return &RemoteError{Code: printable(string(a.body[1:n])), Msg: string(a.body[n:])}
	}
}
