package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lbnode/lbnode/state"
)

// grpcCheck passes when grpc.health.v1.Health/Check says that the service is serving. It speaks HTTP/2, in clear
// text with prior knowledge or over TLS, and the two messages of the protocol are made and read by hand.
type grpcCheck struct {
	httpCheck
	body []byte
}

const grpcPath = "/grpc.health.v1.Health/Check"

func newGRPCCheck(addr state.Address, p *state.PoolSpec, version string) (*grpcCheck, error) {
	h, err := newHTTPCheck(addr, p, version)
	if err != nil {
		return nil, err
	}
	h.url = &url.URL{Scheme: addr.Scheme, Host: addr.HostPort(), Path: grpcPath}
	return &grpcCheck{httpCheck: *h, body: grpcRequest(p.Health.Service)}, nil
}

// grpcRequest frames a HealthCheckRequest, whose field 1 is the service.
func grpcRequest(service string) []byte {
	var msg []byte
	if service != "" {
		msg = binary.AppendUvarint(append(msg, 1<<3|2), uint64(len(service)))
		msg = append(msg, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(msg))), msg...)
}

// The states of a service.
var grpcStatus = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const grpcServing = 1

func (c *grpcCheck) probe(ctx context.Context) outcome {
	begin := time.Now()
	err := c.ask(ctx)
	o := outcome{ok: err == nil, latency: time.Since(begin)}
	var said grpcAnswer
	switch {
	case errors.As(err, &said):
		o.reason = clip(string(said))
	case err != nil:
		o.reason = reasonOf(err, c.timeout)
	}
	return o
}

// grpcAnswer is an answer that is not SERVING.
type grpcAnswer string

func (a grpcAnswer) Error() string { return string(a) }

func (c *grpcCheck) ask(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	protocols := &http.Protocols{}
	protocols.SetHTTP2(c.tls != nil)
	protocols.SetUnencryptedHTTP2(c.tls == nil)
	tr := &http.Transport{
		Protocols: protocols, TLSClientConfig: c.tls.Clone(), DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxAnswer,
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return c.dial(ctx) },
	}
	defer tr.CloseIdleConnections()
	req := (&http.Request{
		Method: http.MethodPost, URL: c.url, Host: c.host, ContentLength: int64(len(c.body)), Body: io.NopCloser(bytes.NewReader(c.body)),
		Header: http.Header{"User-Agent": {c.agent}, "Content-Type": {"application/grpc"}, "Te": {"trailers"}},
	}).WithContext(ctx)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return grpcAnswer("status " + strconv.Itoa(resp.StatusCode))
	}
	msg, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status") // an answer without a message
	}
	if code != "0" {
		return grpcAnswer(fmt.Sprintf("grpc status %q %s", code, resp.Header.Get("Grpc-Message")+resp.Trailer.Get("Grpc-Message")))
	}
	status, err := grpcServingStatus(msg)
	if err != nil {
		return err
	}
	if status == grpcServing {
		return nil
	}
	if status < uint64(len(grpcStatus)) {
		return grpcAnswer(grpcStatus[status])
	}
	return grpcAnswer("service status " + strconv.FormatUint(status, 10))
}

var errGRPCMessage = grpcAnswer("the answer is no health check response")

// grpcServingStatus reads a framed HealthCheckResponse, whose field 1 is the status; a field that is left out is
// 0. Fields that later versions add are skipped.
func grpcServingStatus(b []byte) (uint64, error) {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5) {
		return 0, errGRPCMessage
	}
	status := uint64(0)
	for b = b[5:]; len(b) > 0; {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errGRPCMessage
		}
		b = b[n:]
		skip := uint64(0)
		switch key & 7 {
		case 0, 2:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, errGRPCMessage
			}
			b = b[n:]
			if key&7 == 2 {
				skip = v
			} else if key>>3 == 1 {
				status = v
			}
		case 1:
			skip = 8
		case 5:
			skip = 4
		default:
			return 0, errGRPCMessage
		}
		if skip > uint64(len(b)) {
			return 0, errGRPCMessage
		}
		b = b[skip:]
	}
	return status, nil
}
